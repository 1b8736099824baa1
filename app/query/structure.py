"""The form that an answer is to have: `response_format`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.kit.fields import AnyText
from app.query.body import Asked, Ignored


def _any_object() -> dict[str, Any]:
    return {"type": "object"}


class JsonSchema(Asked):
    """A named JSON schema."""

    name: Annotated[AnyText, Field(max_length=64)] = ""
    description: Ignored = None
    strict: Ignored = None
    """The answer satisfies the schema in any case."""
    schema_: Annotated[dict[str, Any], Field(alias="schema", default_factory=_any_object)]


class ResponseFormat(Asked):
    """Any text, any JSON object, or JSON that satisfies a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") is (self.json_schema is None):
            raise ValueError("json_schema belongs to the type json_schema, and to no other")
        return self

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON schema that an answer satisfies; None for any text."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return _any_object() if self.type == "json_object" else None
