"""What the official client sees, unchanged."""

from typing import Any
from urllib.parse import quote

import openai as sdk
import pytest
import torch
from fastapi.testclient import TestClient
from openai import OpenAI

from app.resident.resident import Resident
from tests.acceptance.query.conftest import HEAD

PROMPT = "The mother tongue of Danielle Darrieux is"
MODEL = "tiny"


def greedy_tokens(resident: Resident, prompt: str, revision: int, max_tokens: int) -> list[int]:
    """What transformers itself answers at a revision."""
    ids = torch.tensor([resident.tokenizer(prompt)["input_ids"]])
    with resident.view(revision) as view:
        model: Any = view.model
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_tokens,
        )
    tokens: list[int] = output[0, ids.shape[1] :].tolist()
    return tokens


def greedy_text(resident: Resident, prompt: str, revision: int, max_tokens: int) -> str:
    """The same as text."""
    tokens = greedy_tokens(resident, prompt, revision, max_tokens)
    return str(resident.tokenizer.decode(tokens, skip_special_tokens=True))


def test_the_served_model_is_listed_with_its_head(openai: OpenAI) -> None:
    (model,) = openai.models.list().data
    assert model.id == MODEL
    assert model.to_dict()["revision"] == HEAD
    assert openai.models.retrieve(f"{MODEL}@1").to_dict()["revision"] == 1


@pytest.mark.parametrize(
    ("model", "revision"),
    [(MODEL, HEAD), (f"{MODEL}@head", HEAD), (f"{MODEL}@0", 0), (f"{MODEL}@1", 1)],
)
def test_a_completion_is_what_the_model_says_at_that_revision(
    openai: OpenAI, resident: Resident, model: str, revision: int
) -> None:
    raw = openai.completions.with_raw_response.create(
        model=model, prompt=PROMPT, max_tokens=10, temperature=0
    )
    completion = raw.parse()
    assert completion.choices[0].text == greedy_text(resident, PROMPT, revision, 10)
    assert completion.to_dict()["revision"] == revision
    assert completion.model == f"{MODEL}@{revision}"
    assert raw.headers["X-Revision"] == str(revision)


def test_the_revisions_of_this_test_model_speak_differently(resident: Resident) -> None:
    texts = {greedy_text(resident, PROMPT, revision, 10) for revision in range(HEAD + 1)}
    assert len(texts) == HEAD + 1


def test_every_shape_of_prompt_gives_the_same_answers(openai: OpenAI, resident: Resident) -> None:
    prompts = [PROMPT, "The capital of Italy is"]
    ids = [resident.tokenizer(prompt)["input_ids"] for prompt in prompts]

    def texts(prompt: Any) -> list[str]:
        answer = openai.completions.create(model=MODEL, prompt=prompt, max_tokens=6, temperature=0)
        assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
        return [choice.text for choice in answer.choices]

    expected = [greedy_text(resident, prompt, HEAD, 6) for prompt in prompts]
    assert texts(prompts) == expected
    assert texts(ids) == expected
    assert texts(prompts[0]) == expected[:1]
    assert texts(ids[1]) == expected[1:]


def test_usage_counts_every_token_read_and_written(openai: OpenAI, resident: Resident) -> None:
    answer = openai.completions.create(
        model=MODEL, prompt=[PROMPT, "Rome"], max_tokens=4, n=3, temperature=1, seed=4, logprobs=0
    )
    read = sum(len(resident.tokenizer(text)["input_ids"]) for text in (PROMPT, "Rome"))
    written = 0
    for choice in answer.choices:
        assert choice.logprobs is not None
        written += len(choice.logprobs.tokens or [])
    assert answer.usage is not None
    assert len(answer.choices) == 6
    assert answer.usage.prompt_tokens == read
    assert answer.usage.completion_tokens == written
    assert answer.usage.total_tokens == read + written


def test_a_seed_makes_warm_answers_repeatable(openai: OpenAI) -> None:
    def draw(seed: int | None) -> list[str]:
        answer = openai.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=8, temperature=1, seed=seed, n=2
        )
        return [choice.text for choice in answer.choices]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_echoed_logprobs_are_those_of_a_plain_forward_pass(
    openai: OpenAI, resident: Resident
) -> None:
    """The request of lm-eval: score a prompt given as token ids, and one token more."""
    prompt: list[int] = resident.tokenizer(PROMPT)["input_ids"]
    answer = openai.completions.create(
        model=MODEL, prompt=[prompt], max_tokens=1, temperature=0, echo=True, logprobs=1, seed=1
    )
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.top_logprobs is not None
    ids = [*prompt, *greedy_tokens(resident, PROMPT, HEAD, 1)]
    with resident.view() as view, torch.no_grad():
        logprobs = view.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = logprobs[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
    scores: Any = found.token_logprobs
    assert scores[0] is None
    torch.testing.assert_close(torch.tensor(scores[1:]), expected, atol=1e-4, rtol=1e-4)
    assert len(found.tokens) == len(ids)
    is_greedy = [
        max(top, key=lambda token: top[token]) == token
        for token, top in zip(found.tokens[1:], found.top_logprobs[1:], strict=True)
    ]
    assert is_greedy == (logprobs[:-1].argmax(-1) == torch.tensor(ids[1:])).tolist()
    assert answer.choices[0].text.startswith(PROMPT)


def test_echo_can_score_a_prompt_without_generating(openai: OpenAI) -> None:
    answer = openai.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=0, echo=True, logprobs=0
    )
    choice = answer.choices[0]
    assert choice.text == PROMPT
    assert choice.logprobs is not None
    offsets = choice.logprobs.text_offset or []
    tokens = choice.logprobs.tokens or []
    assert [PROMPT[at:].startswith(text) for at, text in zip(offsets, tokens, strict=True)]
    assert "".join(tokens) == PROMPT


def test_a_stop_text_never_appears(openai: OpenAI) -> None:
    whole = openai.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0)
    text = whole.choices[0].text
    stop = text[4:6]
    cut = openai.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0, stop=stop
    )
    assert cut.choices[0].text == text.partition(stop)[0]
    assert cut.choices[0].finish_reason == "stop"
    assert whole.choices[0].finish_reason == "length"


def test_a_chat_answer_follows_the_template(openai: OpenAI, resident: Resident) -> None:
    raw = openai.chat.completions.with_raw_response.create(
        model=f"{MODEL}@0",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Paris?"}]},
        ],
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    answer = raw.parse()
    spoken = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nParis?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    choice = answer.choices[0]
    assert choice.message.content == greedy_text(resident, spoken, 0, 8)
    assert choice.message.role == "assistant"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert answer.usage is not None
    assert len(choice.logprobs.content) == answer.usage.completion_tokens
    first = choice.logprobs.content[0]
    assert first.logprob == first.top_logprobs[0].logprob
    assert raw.headers["X-Revision"] == "0"


def test_an_unknown_model_and_an_unknown_revision_are_not_found(openai: OpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as unknown:
        openai.completions.create(model="gpt-4", prompt="a")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(sdk.NotFoundError) as revision:
        openai.completions.create(model=f"{MODEL}@99", prompt="a")
    assert revision.value.code == "unknown_revision"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("gpt-4o", "model_not_found"),
        ("org/model", "model_not_found"),
        ("", "model_not_found"),
        (f"{MODEL}@99", "unknown_revision"),
        (f"{MODEL}@latest", "unknown_revision"),
    ],
)
def test_an_unknown_model_is_an_error_in_openais_form_wherever_it_is_named(
    api: TestClient, model: str, code: str
) -> None:
    talk = {"messages": [{"role": "user", "content": "Hi"}]}
    answers = [
        api.post("/v1/completions", json={"model": model, "prompt": "a"}),
        api.post("/v1/completions", json={"model": model, "prompt": "a", "stream": True}),
        api.post("/v1/chat/completions", json={"model": model} | talk),
    ]
    if model:
        answers += [api.get(f"/v1/models/{name}") for name in (model, quote(model, safe=""))]
    for answer in answers:
        error = answer.json()["error"]
        assert answer.status_code == 404
        assert {*error} == {"message", "type", "param", "code"}
        assert (error["type"], error["param"], error["code"]) == (
            "invalid_request_error",
            "model",
            code,
        )
        assert error["message"]


def test_an_unknown_revision_of_a_comparison_is_no_matter_of_a_model(api: TestClient) -> None:
    answer = api.post("/v1/compare", json={"prompt": "a", "revisions": [99]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_revision")
    assert answer.json()["error"]["param"] is None


def test_no_nucleus_at_all_is_the_most_probable_token(openai: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "max_tokens": 8}
    greedy = openai.completions.create(**asked, temperature=0).choices[0].text
    narrow = openai.completions.create(**asked, temperature=1, top_p=0, seed=5).choices[0].text
    assert narrow == greedy


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream"),
        ({"max_tokens": 2, "max_completion_tokens": 3}, "max_tokens and max_completion_tokens"),
    ],
)
def test_fields_that_do_not_go_together_are_named_in_the_message(
    openai: OpenAI, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(sdk.UnprocessableEntityError, match=told):
        openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], **fields
        )


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        openai.completions.create(model=MODEL, prompt="a", max_tokens=512)
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "max_tokens"
    assert "513" in str(refused.value)
    assert "512" in str(refused.value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x" * 5001}, "prompt"),
        ({"prompt": [384]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a\0"}, "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
        ({"prompt": "a", "unheard_of": 1}, "unheard_of"),
        ({"prompt": "a", "stream_options": {}}, "stream_options"),
        ({"prompt": "a", "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({}, "prompt"),
    ],
)
def test_a_bad_completion_request_names_the_field(
    api: TestClient, body: dict[str, Any], field: str
) -> None:
    response = api.post("/v1/completions", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["error"]["param"] == field


@pytest.mark.parametrize(
    "raw", ['{"prompt": "\\ud800"}', '{"prompt": NaN}', '{"prompt": "a", "temperature": NaN}']
)
def test_hostile_json_is_refused_not_a_failure(api: TestClient, raw: str) -> None:
    response = api.post(
        "/v1/completions", content=raw, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (400, 422)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 2, "max_completion_tokens": 3}, "max_tokens"),
        ({"messages": []}, "messages"),
    ],
)
def test_a_bad_chat_request_names_the_field(
    api: TestClient, extra: dict[str, Any], field: str
) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}]} | extra
    response = api.post("/v1/chat/completions", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == field
