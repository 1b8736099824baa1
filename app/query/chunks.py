"""What a streamed answer consists of, in the shape of OpenAI's chunks."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from app.generation.engine import FinishReason
from app.query.body import Body
from app.query.schemas import ChatLogprobs, CompletionLogprobs, Usage


class CompletionChunkChoice(Body):
    """What a chunk adds to one continuation."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionChunk(Body):
    """A further part of a completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    revision: int
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None


class ChatDelta(Body):
    """What a chunk adds to one answer; only that is sent."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _only_what_is_new(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if value is not None}


class ChatChunkChoice(Body):
    """A further part of one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Body):
    """A further part of the answers to a conversation."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    revision: int
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
