"""The turns of a conversation as clients send them, those that a server sent before among them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from app.kit.fields import AnyText
from app.query.body import Asked, Ignored, Only

_MAX_PARTS = 1000
_MAX_NAME = 64


def _parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class TextPart(Asked):
    """A piece of a message's content."""

    type: Literal["text"]
    text: AnyText
    cache_control: Ignored = None
    prompt_cache_breakpoint: Ignored = None


class Message(Asked):
    """One turn of a conversation.

    An answer of this server, or of one like it, is taken back as it was sent: what it says beside
    its content must say nothing.
    """

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is OpenAI's newer name of `system`."""
    content: Annotated[
        list[TextPart],
        Field(max_length=_MAX_PARTS, fail_fast=True),
        BeforeValidator(_parts, json_schema_input_type=str | list[TextPart]),
    ]
    """Of the assistant it may be null or left out, which is an empty text."""
    name: Annotated[AnyText, Field(max_length=_MAX_NAME)] | None = None
    """Who speaks, for chat templates that tell it."""
    type: Ignored = None
    parsed: Ignored = None
    """OpenAI's client reads structured content into it."""
    refusal: Annotated[Any, Only("")] = None
    annotations: Ignored = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only([])] = None

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_sent(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("role") != "assistant":
            return given
        told = {
            name: value
            for name, value in given.items()
            if name in cls.model_fields or not _says_nothing(value)
        }
        return told | {"content": ""} if told.get("content") is None else told

    @property
    def speaker(self) -> str:
        """The role as chat templates know it."""
        return "system" if self.role == "developer" else self.role

    @property
    def text(self) -> str:
        """The content as one text."""
        return "".join(part.text for part in self.content)

    @property
    def characters(self) -> str:
        """All of it that a chat template may write."""
        return (self.name or "") + self.text


def _says_nothing(value: object) -> bool:
    return not (any(map(_told, value.values())) if isinstance(value, Mapping) else _told(value))


def _told(value: object) -> bool:
    return value not in (None, "", [], {})
