from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.query.schemas import ChatRequest, CompletionRequest, ProbeRequest

SPOKEN = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_a_prompt_has_four_shapes(prompt: object, prompts: list[object]) -> None:
    assert CompletionRequest.model_validate({"prompt": prompt}).prompts == prompts


@pytest.mark.parametrize(
    "prompt", [[], [[]], [[1], []], ["a", 1], [1.5], [True], 7, None, {}, [["a"]], ["x"] * 513]
)
def test_any_other_shape_of_prompt_is_refused_by_name(prompt: object) -> None:
    assert fields_refused(CompletionRequest, {"prompt": prompt}) == {"prompt"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", -1),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_p", -0.1),
        ("top_p", float("inf")),
        ("n", 0),
        ("n", 17),
        ("logprobs", 21),
        ("seed", 2**63),
        ("stop", ["a"] * 17),
        ("stop", ""),
        ("stop", "\ud800"),
        ("stream", "yes"),
        ("stream_options", {"include": True}),
        ("model", "\0"),
        ("frequency", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    refused = fields_refused(CompletionRequest, {"prompt": "a", field: value})
    assert {name.partition(".")[0] for name in refused} == {field}


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff tail"])
def test_text_that_cannot_be_encoded_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        CompletionRequest.model_validate({"prompt": text})
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({"messages": [{"role": "user", "content": text}]})
    with pytest.raises(ValidationError):
        ProbeRequest.model_validate({"items": [{"prompt": "a", "target": text}]})


@pytest.mark.parametrize(
    ("options", "included"),
    [(None, False), ({}, False), ({"include_usage": True}, True)],
)
def test_a_stream_ends_with_usage_if_that_is_asked(options: object, included: bool) -> None:
    body = {"messages": SPOKEN, "stream": True, "stream_options": options}
    assert ChatRequest.model_validate(body).include_usage is included


def test_one_stop_text_is_a_list_of_one() -> None:
    assert CompletionRequest.model_validate({"prompt": "a", "stop": "."}).stop == ["."]


def test_the_parts_of_a_message_make_one_text() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": parts}]})
    assert request.messages[0].text == "Hello"


@pytest.mark.parametrize("revisions", [[], ["tail"], [-1], [1.0], [True]])
def test_a_probe_names_revisions_by_number_or_head(revisions: list[Any]) -> None:
    item = {"prompt": "a", "target": "b"}
    with pytest.raises(ValidationError):
        ProbeRequest.model_validate({"items": [item], "revisions": revisions})


def fields_refused(schema: type[BaseModel], body: dict[str, Any]) -> set[str]:
    """The top-level fields that validation complains about."""
    with pytest.raises(ValidationError) as refused:
        schema.model_validate(body)
    return {str(error["loc"][0]) for error in refused.value.errors()}


@pytest.mark.parametrize("prompt", [[1] * (2**19 + 1), [[1] * (2**18 + 1)] * 2])
def test_token_ids_have_a_limit_together(prompt: list[Any]) -> None:
    with pytest.raises(ValidationError, match="at most 524288 at a time"):
        CompletionRequest.model_validate({"prompt": prompt})
