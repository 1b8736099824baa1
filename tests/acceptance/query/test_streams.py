"""Streams as the official client reads them off a real server, unchanged."""

import json
import socket
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai as sdk
import pytest
from openai import OpenAI

from app.resident.resident import Resident
from tests.acceptance.query.conftest import HEAD
from tests.support.waiting import wait_until

PROMPT = "The mother tongue of Danielle Darrieux is"
MODEL = "tiny"
_FREED_S = 20.0


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": PROMPT, "max_tokens": 12, "temperature": 0} | fields


@pytest.mark.parametrize("revision", [0, 1, HEAD])
def test_a_streamed_completion_is_the_whole_one_in_pieces(remote: OpenAI, revision: int) -> None:
    fields = asked(model=f"{MODEL}@{revision}", logprobs=2, max_tokens=20)
    whole = remote.completions.create(**fields)
    raw = remote.completions.with_raw_response.create(**fields, stream=True)
    assert raw.headers["X-Revision"] == str(revision)
    assert raw.headers["Content-Type"].startswith("text/event-stream")
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert {chunk.model for chunk in chunks} == {f"{MODEL}@{revision}"}
    assert {chunk.to_dict()["revision"] for chunk in chunks} == {revision}
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == whole.choices[0].finish_reason
    assert not any(reasons[:-1])
    assert not any(chunk.usage for chunk in chunks)
    found: dict[str, list[Any]] = defaultdict(list)
    for chunk in chunks:
        logprobs = chunk.choices[0].logprobs
        assert logprobs is not None
        for name, values in logprobs.to_dict().items():
            found[name] += values
    assert whole.choices[0].logprobs is not None
    expected: dict[str, Any] = whole.choices[0].logprobs.to_dict()
    assert found["tokens"] == expected["tokens"]
    assert found["text_offset"] == expected["text_offset"]
    assert found["token_logprobs"] == pytest.approx(expected["token_logprobs"], abs=1e-4)


def test_a_streamed_chat_answer_has_roles_deltas_a_reason_and_usage(remote: OpenAI) -> None:
    fields: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Paris?"}],
        "max_tokens": 8,
        "temperature": 0,
    }
    whole = remote.chat.completions.create(**fields)
    *chunks, last = remote.chat.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert not any(delta.role for delta in deltas[1:])
    text = "".join(delta.content or "" for delta in deltas)
    assert text == whole.choices[0].message.content
    assert deltas[-1].to_dict() == {}
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_prompts_and_choices_come_interleaved_under_their_own_index(remote: OpenAI) -> None:
    fields = asked(
        prompt=[PROMPT, "Rome"], n=3, temperature=1, seed=4, max_tokens=30, echo=True, logprobs=0
    )
    whole = remote.completions.create(**fields)
    texts, order = defaultdict[int, str](str), list[int]()
    tokens = defaultdict[int, int](int)
    *chunks, last = remote.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        order.append(choice.index)
        assert choice.logprobs is not None
        tokens[choice.index] += len(choice.logprobs.tokens or [])
    assert [texts[index] for index in range(6)] == [choice.text for choice in whole.choices]
    assert order != sorted(order)
    assert last.usage == whole.usage
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert tokens[choice.index] == len(choice.logprobs.tokens or [])


def test_a_stop_text_is_never_half_sent(remote: OpenAI) -> None:
    text = remote.completions.create(**asked()).choices[0].text
    stop = text[3:7]
    sent = ""
    for chunk in remote.completions.create(**asked(stop=[stop]), stream=True):
        sent += chunk.choices[0].text
        assert text.partition(stop)[0].startswith(sent)
        reason = chunk.choices[0].finish_reason
    assert sent == text.partition(stop)[0]
    assert reason == "stop"


def test_a_stream_ends_with_done(server: str) -> None:
    body = asked(stream=True)
    with httpx2.stream("POST", f"{server}/v1/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["id"] for line in lines[:-1])


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"model": "gpt-4"}, sdk.NotFoundError, "model_not_found"),
        ({"model": f"{MODEL}@99"}, sdk.NotFoundError, "unknown_revision"),
        ({"max_tokens": 512}, sdk.BadRequestError, "context_length_exceeded"),
        ({"prompt": ""}, sdk.UnprocessableEntityError, "invalid_field"),
        ({"temperature": 3}, sdk.UnprocessableEntityError, "invalid_request"),
    ],
)
def test_a_refusal_comes_before_the_stream(
    remote: OpenAI, fields: dict[str, Any], error: type[sdk.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as refused:
        remote.completions.create(**asked(**fields), stream=True)
    assert refused.value.code == code


def test_several_clients_are_answered_together_as_each_would_be_alone(
    remote: OpenAI, resident: Resident
) -> None:
    prompts = [PROMPT, "Rome", "The capital of Italy is", "Michel Rocard is a native speaker of"]
    alone = [
        remote.completions.create(**asked(prompt=prompt, max_tokens=40)).choices[0].text
        for prompt in prompts
    ]
    sizes = list[int]()

    def note(_module: object, _args: object, fields: dict[str, Any]) -> None:
        sizes.append(len(fields["input_ids"]))

    with resident.view() as view:
        handle = view.model.register_forward_pre_hook(note, with_kwargs=True)
    streams = [
        remote.completions.create(**asked(prompt=prompt, max_tokens=40), stream=True)
        for prompt in prompts
    ]
    texts = ["".join(chunk.choices[0].text for chunk in stream) for stream in streams]
    handle.remove()
    assert texts == alone
    assert max(sizes) > 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_places(
    server: str, resident: Resident, remote: OpenAI, stream: bool
) -> None:
    """Fifteen choices of 400 tokens each hold all places but one; a closed socket frees them."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    with resident.view() as view:
        handle = view.model.register_forward_hook(count)
    body = json.dumps(
        asked(stream=stream, n=15, max_tokens=400, temperature=1.5, seed=1) | {"stop": "\t\t\t"}
    )
    address = urlsplit(server)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        wait_until(lambda: steps > 5, _FREED_S, what="the first steps")
    answer = remote.completions.create(**asked(n=16, temperature=1, max_tokens=2), timeout=_FREED_S)
    handle.remove()
    assert len(answer.choices) == 16
    assert steps < 200
