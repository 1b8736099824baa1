"""What clients send by themselves and what was sent to them, over HTTP with the official client."""

import json
from typing import Any

import openai as sdk
import pytest
from fastapi.testclient import TestClient
from openai import OpenAI
from pydantic import BaseModel

from app.resident.resident import Resident
from tests.acceptance.query.conftest import HEAD, service_around
from tests.acceptance.query.test_openai_client import MODEL, greedy_text
from tests.app.query.test_published_schema import NEUTRAL, NEUTRAL_CHAT
from tests.support.local_client import local_client
from tests.support.waiting import wait_until

USER: Any = {"role": "user", "content": "Say hi."}
PLAIN: dict[str, Any] = {"model": MODEL, "max_tokens": 5, "temperature": 0}
_READY_S = 30.0


def turn(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


@pytest.mark.parametrize("as_document", [False, True])
def test_a_conversation_goes_on_with_the_message_the_server_sent(
    openai: OpenAI, resident: Resident, as_document: bool
) -> None:
    talk: list[Any] = [USER]
    first = openai.chat.completions.create(messages=talk, **PLAIN).choices[0].message
    talk += [first.model_dump() if as_document else first, {"role": "user", "content": "Again."}]
    second = openai.chat.completions.create(messages=talk, **PLAIN).choices[0].message
    read = turn("user", "Say hi.") + turn("assistant", first.content or "")
    read += turn("user", "Again.") + "<|im_start|>assistant\n"
    assert second.content == greedy_text(resident, read, HEAD, 5)


def test_fields_that_ask_for_nothing_change_nothing(api: TestClient) -> None:
    chat = PLAIN | {"messages": [USER]}
    plain = api.post("/v1/chat/completions", json=chat).json()["choices"]
    full = NEUTRAL | NEUTRAL_CHAT | chat
    assert api.post("/v1/chat/completions", json=full).json()["choices"] == plain
    text = PLAIN | {"prompt": "Rome"}
    plain = api.post("/v1/completions", json=text).json()["choices"]
    neutral = {"best_of": 1, "suffix": None, "logprobs": None, "stream_options": None}
    assert api.post("/v1/completions", json=NEUTRAL | neutral | text).json()["choices"] == plain


@pytest.mark.parametrize(
    ("field", "value"),
    [("tools", [{"type": "function", "function": {"name": "f"}}]), ("top_k", 40), ("unheard", 1)],
)
def test_what_would_change_the_answer_is_refused_by_name(
    openai: OpenAI, field: str, value: object
) -> None:
    with pytest.raises(sdk.UnprocessableEntityError) as refused:
        openai.chat.completions.create(messages=[USER], **PLAIN, extra_body={field: value})
    assert refused.value.param == field
    assert refused.value.request_id == refused.value.response.headers["x-request-id"]


def test_best_of_is_refused_unless_all_is_answered(openai: OpenAI) -> None:
    asked = PLAIN | {"prompt": "Rome", "n": 2, "temperature": 1}
    assert len(openai.completions.create(**asked, best_of=2).choices) == 2
    with pytest.raises(sdk.UnprocessableEntityError, match="send 2"):
        openai.completions.create(**asked, best_of=3)


def test_sixteen_stop_texts_are_heeded(openai: OpenAI) -> None:
    whole = openai.completions.create(**PLAIN, prompt="Rome").choices[0].text
    stops = [f"\t{number}" for number in range(15)]
    cut = openai.completions.create(**PLAIN, prompt="Rome", stop=[*stops, whole[2:4]])
    assert cut.choices[0].text == whole.partition(whole[2:4])[0]


def test_the_assistants_last_words_are_continued(openai: OpenAI, resident: Resident) -> None:
    begun = {"role": "assistant", "content": "The capital of France is"}
    goes_on = {"continue_final_message": True, "add_generation_prompt": False}
    talk: Any = [USER, begun]
    answer = openai.chat.completions.create(messages=talk, **PLAIN, extra_body=goes_on)
    read = turn("user", "Say hi.") + f"<|im_start|>assistant\n{begun['content']}"
    assert answer.choices[0].message.content == greedy_text(resident, read, HEAD, 5)
    closed = {"add_generation_prompt": False}
    answer = openai.chat.completions.create(messages=talk, **PLAIN, extra_body=closed)
    read += "<|im_end|>\n"
    assert answer.choices[0].message.content == greedy_text(resident, read, HEAD, 5)


@pytest.mark.parametrize(
    ("talk", "more", "field"),
    [
        ([USER], {}, "continue_final_message"),
        (
            [USER, {"role": "assistant", "content": "A"}],
            {"add_generation_prompt": True},
            "add_generation_prompt",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(
    api: TestClient, talk: list[Any], more: dict[str, Any], field: str
) -> None:
    body = PLAIN | {"messages": talk, "continue_final_message": True} | more
    refused = api.post("/v1/chat/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, field)


class Verdict(BaseModel):
    """Every value is of a bounded length: a random model ends none."""

    said: bool
    sure: bool


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of the client, for its own field
def test_an_answer_has_the_form_that_its_schema_asks_for(remote: OpenAI) -> None:
    parsed = remote.chat.completions.parse(
        model=MODEL, messages=[USER], max_tokens=60, temperature=0, response_format=Verdict
    )
    message: Any = parsed.choices[0].message
    assert isinstance(message.parsed, Verdict)
    again = remote.chat.completions.create(
        messages=[USER, message, USER],
        **PLAIN,
    )
    assert again.choices[0].message.content
    schema: Any = {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": Verdict.model_json_schema(), "strict": True},
    }
    chunks: Any = remote.chat.completions.create(
        model=MODEL,
        messages=[USER],
        max_tokens=60,
        temperature=1.5,
        seed=1,
        stream=True,
        response_format=schema,
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    Verdict.model_validate_json(streamed)


def test_any_json_object_can_be_asked_for(openai: OpenAI) -> None:
    asked: Any = PLAIN | {"max_tokens": 200, "response_format": {"type": "json_object"}}
    answer = openai.chat.completions.create(messages=[USER], **asked)
    text = answer.choices[0].message.content or ""
    assert text.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_an_unusable_schema_is_refused_before_the_stream(openai: OpenAI) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "y"}}}
    with pytest.raises(sdk.UnprocessableEntityError, match="cannot be followed") as refused:
        openai.chat.completions.create(
            messages=[USER], **PLAIN, stream=True, response_format=schema
        )
    assert refused.value.param == "response_format"


def test_a_bias_names_a_token_of_the_model(openai: OpenAI) -> None:
    with pytest.raises(sdk.UnprocessableEntityError, match="99999 is not in the vocabulary"):
        openai.completions.create(**PLAIN, prompt="Rome", logit_bias={"99999": 1})


def test_an_answer_that_does_not_fit_is_cut_by_a_setting(
    resident: Resident, tmp_path_factory: pytest.TempPathFactory
) -> None:
    app = service_around(resident, tmp_path_factory.mktemp("cutting"), cut_max_tokens=True)
    with local_client(app) as client:
        wait_until(lambda: client.get("/readyz").is_success, _READY_S)
        asked: dict[str, Any] = {"max_tokens": 10**8, "temperature": 1, "seed": 3}
        chat = client.post("/v1/chat/completions", json=asked | {"messages": [USER]}).json()
        assert chat["usage"]["total_tokens"] <= 512
        asked |= {"prompt": ["a" * 500, "b" * 505], "logit_bias": {"2": -100}}  # no end
        plain = client.post("/v1/completions", json=asked).json()
        assert plain["usage"]["completion_tokens"] == 12 + 7
        assert {choice["finish_reason"] for choice in plain["choices"]} == {"length"}
