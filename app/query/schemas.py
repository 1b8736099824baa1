"""Requests and answers of the query API, in the shape of OpenAI's."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo

from app.generation.engine import FinishReason
from app.kit.fields import MAX_INTEGER, AnyText, encodable
from app.query.body import Asked, Body, Ignored
from app.query.extras import ChatExtras, CompletionExtras, Extras
from app.query.messages import Message
from app.query.structure import ResponseFormat

_MAX_MEASUREMENTS = 1024  # of one probe
_MAX_PROMPTS = 512
_MAX_IDS = 2**19  # token ids of all prompts: each is looked at several times
_MAX_CHOICES = 16
_MAX_TOP_LOGPROBS = 20
_MAX_STOPS = 16
_MAX_BIAS = 100.0
_ID_DIGITS = 9
_SEED_LIMIT = 2**63
_SHAPES = "must be a text, a list of texts, a list of token ids, or a list of those"


def _prompt_shape(value: object) -> object:
    for text in _checked(value) if isinstance(value, list) else [value]:
        encodable(text)
    if isinstance(value, str | list):
        return value
    raise ValueError(_SHAPES)


def _checked(prompts: list[object]) -> list[object]:
    """What of a list of prompts, or of token ids, is text."""
    # It may hold a million token ids, so the types of its items are told, and no item by itself.
    kinds = set(map(type, prompts))
    lists = [ids for ids in prompts if isinstance(ids, list)] if kinds == {list} else []
    if not prompts or [] in lists:
        raise ValueError("a list of prompts or token ids must not be empty")
    if kinds in ({str}, {list}) and len(prompts) > _MAX_PROMPTS:
        raise ValueError(f"{len(prompts)} prompts are too many; at most {_MAX_PROMPTS} at a time")
    count = sum(map(len, lists)) if lists else len(prompts)
    if kinds != {str} and count > _MAX_IDS:
        raise ValueError(f"{count} token ids are too many; at most {_MAX_IDS} at a time")
    ids = set().union(*(map(type, ids) for ids in lists)) if lists else kinds
    if ids != {int} and kinds != {str}:
        raise ValueError(_SHAPES)
    return prompts if kinds == {str} else []


def _revision_name(value: object) -> object:
    if value == "head" or (type(value) is int and 0 <= value <= MAX_INTEGER):
        return value
    raise ValueError(f"must be 'head' or a number from 0 to {MAX_INTEGER}")


def _few_enough(revisions: list[int | str], info: ValidationInfo) -> list[int | str]:
    items, named = len(info.data.get("items", ())), len(set(revisions))
    if items * named > _MAX_MEASUREMENTS:
        raise ValueError(
            f"{items} items under {named} revisions are {items * named} measurements; "
            f"at most {_MAX_MEASUREMENTS} at a time, so send fewer of either"
        )
    return revisions


def _of_tokens(bias: dict[str, float]) -> dict[str, float]:
    for name in bias:
        if not (name.isascii() and name.isdigit() and len(name) <= _ID_DIGITS):
            raise ValueError(f"{name[:_ID_DIGITS]!r} is no token id; write its digits")
    return bias


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


# Shapes are told apart by hand: pydantic would report each failed branch of a union by its
# inner name, and the client would not find that field in what it sent.
_TokenIds = Annotated[list[int], Field(fail_fast=True)]
Prompt = Annotated[
    str
    | Annotated[list[str], Field(fail_fast=True)]
    | _TokenIds
    | Annotated[list[_TokenIds], Field(fail_fast=True)],
    BeforeValidator(_prompt_shape),
]
RevisionName = Annotated[int | Literal["head"], BeforeValidator(_revision_name)]
Stop = Annotated[
    list[Annotated[AnyText, Field(min_length=1, max_length=200)]],
    Field(max_length=_MAX_STOPS, fail_fast=True),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenBias = Annotated[
    dict[str, Annotated[float, Field(ge=-_MAX_BIAS, le=_MAX_BIAS)]], AfterValidator(_of_tokens)
]


class StreamOptions(Asked):
    """What a stream holds beside the text."""

    include_usage: bool = False
    include_obfuscation: Ignored = None


class GenerationRequest(Extras):
    """What both ways of generating text accept."""

    model: AnyText | None = None
    """`name`, or `name@revision`; left out, the served model at its head."""
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    frequency_penalty: Penalty = 0.0
    """Taken off a token's logit for each time that the answer has it already."""
    presence_penalty: Penalty = 0.0
    """Taken off the logit of each token that the answer has already."""
    logit_bias: TokenBias | None = None
    """Added to the logits of tokens, by their ids."""
    n: int = Field(default=1, ge=1, le=_MAX_CHOICES)
    stop: Stop | None = None
    seed: int | None = Field(default=None, ge=-_SEED_LIMIT, lt=_SEED_LIMIT)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with the number of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(GenerationRequest, CompletionExtras):
    """A text to be continued."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "The mother tongue of Danielle Darrieux is",
                    "max_tokens": 5,
                    "temperature": 0,
                }
            ]
        }
    )

    prompt: Prompt
    max_tokens: int = Field(default=16, ge=0)
    logprobs: int | None = Field(default=None, ge=0, le=_MAX_TOP_LOGPROBS)
    echo: bool = False
    best_of: int | None = Field(default=None, ge=1, le=_MAX_CHOICES)
    """Only the value of `n`: all that is generated is answered."""
    add_special_tokens: bool = True
    """Whether the tokenizer puts its marks around a text; one that begins with BOS keeps one."""

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompt field as the list of prompts it stands for."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        several: list[str | list[int]] = [p for p in self.prompt if not isinstance(p, int)]
        return several or [[token for token in self.prompt if isinstance(token, int)]]


class ChatRequest(GenerationRequest, ChatExtras):
    """A conversation to be continued by the assistant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [{"role": "user", "content": "What is gravity?"}],
                    "max_tokens": 20,
                    "temperature": 0,
                }
            ]
        }
    )

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000, fail_fast=True)]
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """OpenAI's newer name of `max_tokens`."""
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=_MAX_TOP_LOGPROBS)
    response_format: ResponseFormat | None = None
    continue_final_message: bool = False
    """Go on with the last message, the assistant's, instead of answering it."""
    add_generation_prompt: bool | None = None
    """Whether a new turn of the assistant is opened: by default, unless the last goes on."""

    @property
    def token_limit(self) -> int | None:
        """Most tokens to generate, under whichever name it was sent."""
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def opens_turn(self) -> bool:
        """Whether a new turn of the assistant is opened."""
        if self.add_generation_prompt is None:
            return not self.continue_final_message
        return self.add_generation_prompt


class ProbeItem(Body):
    """A prompt and the text that is expected to follow it."""

    prompt: Annotated[AnyText, Field(min_length=1)]
    target: Annotated[AnyText, Field(min_length=1)]
    separator: Annotated[
        Literal["", " "] | None,
        Field(description="What stands between them; default: what running text has there."),
    ] = None


class ProbeRequest(Body):
    """Probes to measure, and the revisions to measure them under."""

    items: Annotated[list[ProbeItem], Field(min_length=1, max_length=256, fail_fast=True)]
    revisions: Annotated[
        list[RevisionName],
        Field(min_length=1, max_length=16, fail_fast=True, default_factory=lambda: ["head"]),
        AfterValidator(_few_enough),
    ]


class Usage(Body):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobs(Body):
    """Scores of a completion's tokens under the model itself, before temperature and top_p."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Body):
    """One continuation of one prompt."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason


class Completion(Body):
    """Continuations, bound to the revision that made them."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    revision: int
    choices: list[CompletionChoice]
    usage: Usage


class TopLogprob(Body):
    """A token the model might have said."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TopLogprob):
    """A token the model said, with its rivals."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Body):
    """Scores of an answer's tokens."""

    content: list[ChatTokenLogprob]
    refusal: None = None


class ChatAnswer(Body):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Body):
    """One answer."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Body):
    """Answers, bound to the revision that made them."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    revision: int
    choices: list[ChatChoice]
    usage: Usage


class Model(Body):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "errata"
    revision: int


class ModelList(Body):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[Model]


class ProbeScore(Body):
    """How a target fares under one revision."""

    logprob: float
    p: float
    rank: int
    argmax: str
    match: bool


class ProbeResult(Body):
    """One probe under every revision asked for."""

    prompt: str
    target: str
    separator: str
    """What was read between them: a space at the prompt's end, too."""
    revisions: dict[str, ProbeScore]


class ProbeResponse(Body):
    """Measured probes."""

    results: list[ProbeResult]
    revisions: dict[str, int]
    """The number behind each revision asked for."""
