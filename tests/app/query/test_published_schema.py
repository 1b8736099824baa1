"""What OpenAI's client may send, by its own types: a field of a newer one is noticed here."""

from typing import Any, get_type_hints

import pytest
from openai.types import CompletionUsage, completion_create_params
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionMessage,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import (
    completion_create_params as chat_create_params,
)
from openai.types.shared_params import (
    ResponseFormatJSONObject,
    ResponseFormatJSONSchema,
    ResponseFormatText,
)
from openai.types.shared_params.response_format_json_schema import JSONSchema
from pydantic import BaseModel, ValidationError

from app.query.messages import Message, TextPart
from app.query.schemas import ChatRequest, CompletionRequest, StreamOptions, Usage
from app.query.structure import JsonSchema, ResponseFormat

SPOKEN: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
PROMPT: dict[str, Any] = {"prompt": "Hello"}


def names_of(schema: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in schema.model_fields.items()}


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        (completion_create_params.CompletionCreateParamsNonStreaming, CompletionRequest),
        (completion_create_params.CompletionCreateParamsStreaming, CompletionRequest),
        (chat_create_params.CompletionCreateParamsNonStreaming, ChatRequest),
        (chat_create_params.CompletionCreateParamsStreaming, ChatRequest),
        (ChatCompletionStreamOptionsParam, StreamOptions),
        (ChatCompletionSystemMessageParam, Message),
        (ChatCompletionDeveloperMessageParam, Message),
        (ChatCompletionUserMessageParam, Message),
        (ChatCompletionAssistantMessageParam, Message),
        (ChatCompletionContentPartTextParam, TextPart),
        (ResponseFormatText, ResponseFormat),
        (ResponseFormatJSONObject, ResponseFormat),
        (ResponseFormatJSONSchema, ResponseFormat),
        (JSONSchema, JsonSchema),
    ],
)
def test_every_published_field_is_known(published: type, ours: type[BaseModel]) -> None:
    assert set(get_type_hints(published)) <= names_of(ours)


def test_every_field_of_an_answer_is_taken_back() -> None:
    assert set(ChatCompletionMessage.model_fields) <= names_of(Message)


def test_usage_has_the_fields_that_are_required() -> None:
    required = {name for name, field in CompletionUsage.model_fields.items() if field.is_required()}
    assert required == names_of(Usage)


@pytest.mark.parametrize(("schema", "body"), [(CompletionRequest, PROMPT), (ChatRequest, SPOKEN)])
def test_null_is_the_default_in_every_field(schema: type[BaseModel], body: dict[str, Any]) -> None:
    nulls = dict.fromkeys(names_of(schema) - set(body))
    assert schema.model_validate(nulls | body) == schema.model_validate(body)


NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "n": 1,
    "stop": [],
    "stream": False,
    "temperature": 1,
    "top_p": 1,
    "user": "somebody",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "ignore_eos": False,
    "stop_token_ids": [],
    "skip_special_tokens": True,
}
NEUTRAL_CHAT: dict[str, Any] = {
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "response_format": {"type": "text"},
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "function_call": "auto",
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"},
    "reasoning_effort": "none",
    "verbosity": "medium",
    "safety_identifier": "x",
    "prompt_cache_key": "x",
    "prompt_cache_retention": "24h",
    "logprobs": False,
    "add_generation_prompt": True,
    "continue_final_message": False,
    "chat_template_kwargs": {},
}


def test_what_asks_for_nothing_is_accepted() -> None:
    ChatRequest.model_validate(NEUTRAL | NEUTRAL_CHAT | SPOKEN)
    neutral = {"best_of": 1, "suffix": "", "echo": False, "add_special_tokens": True}
    CompletionRequest.model_validate(NEUTRAL | neutral | PROMPT)


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("tools", [{"type": "function"}], "send []"),
        ("tool_choice", "required", 'send "none" or "auto"'),
        ("functions", [{"name": "f"}], "send []"),
        ("modalities", ["text", "audio"], 'send ["text"]'),
        ("audio", {"voice": "alloy"}, "leave it out"),
        ("web_search_options", {}, "leave it out"),
        ("reasoning_effort", "high", 'send "none"'),
        ("verbosity", "low", 'send "medium"'),
        ("top_k", 40, "send 0 or -1"),
        ("min_p", 0.1, "send 0"),
        ("min_p", False, "send 0"),
        ("repetition_penalty", 1.2, "send 1"),
        ("ignore_eos", True, "send false"),
        ("ignore_eos", 0, "send false"),
        ("unheard_of", None, "Extra inputs"),
        ("logit_bias", {"x": 1}, "is no token id"),
        ("logit_bias", {"5": 101}, "less than or equal to 100"),
        ("frequency_penalty", 2.5, "less than or equal to 2"),
        ("response_format", {"type": "grammar"}, "'text', 'json_object' or 'json_schema'"),
        ("response_format", {"type": "json_schema"}, "json_schema belongs to"),
        ("response_format", {"type": "text", "json_schema": {"name": "x"}}, "json_schema belongs"),
    ],
)
def test_what_is_not_implemented_is_refused_with_what_is_accepted(
    field: str, value: object, accepted: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        ChatRequest.model_validate(SPOKEN | {field: value})
    (error,) = refused.value.errors()
    assert error["loc"][0] == field
    assert accepted in error["msg"]


TOLD = {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize(
    "more",
    [
        {"refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"tool_calls": None, "reasoning_content": None, "reasoning": ""},
        {"provider_specific_fields": {"refusal": None}, "images": [], "thinking_blocks": None},
        {"type": "message", "name": "bob", "parsed": {"a": 1}},
        {"content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_what_a_server_sent_is_taken_back(more: dict[str, Any]) -> None:
    assert Message.model_validate(TOLD | more).text == "Hi"


@pytest.mark.parametrize("message", [{"content": None}, {"content": ""}, {}])
def test_an_assistant_may_have_said_nothing(message: dict[str, Any]) -> None:
    assert Message.model_validate({"role": "assistant"} | message).text == ""


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (TOLD | {"tool_calls": [{"id": "x"}]}, "tool_calls"),
        (TOLD | {"refusal": "No."}, "refusal"),
        (TOLD | {"thinking": "hm"}, "thinking"),
        ({"role": "user", "content": "Hi", "thinking": None}, "thinking"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "tool", "content": "Hi"}, "role"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content"),
        ({"role": "user", "content": "Hi", "name": "\0"}, "name"),
    ],
)
def test_a_message_that_says_more_is_refused_by_name(message: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Message.model_validate(message)
    assert {error["loc"][0] for error in refused.value.errors()} == {field}
