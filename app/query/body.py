"""What every body of the query API has in common, and fields that are not implemented."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema


class Body(BaseModel):
    """Anything that is sent: no field that is not known, no number that JSON cannot write."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Asked(Body):
    """A body in OpenAI's shape: null stands for the default, in every field."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {
            name: value for name, value in given.items() if value is not None or name not in known
        }


#: a field that changes no answer
Ignored = Annotated[Any, Field(description="Accepted and ignored: it changes no answer.")]


class Only:
    """Marks a field that is not implemented: it takes the values that ask for nothing.

    Args:
        values: These; null is always one of them.
    """

    def __init__(self, *values: object) -> None:
        self._values = values

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validates by comparison with the values."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Every value that is accepted."""
        del schema, handler
        return {"enum": [None, *self._values], "description": "Nothing else is implemented."}

    def _checked(self, value: object) -> object:
        if any(_same(value, accepted) for accepted in self._values):
            return value
        accepted = " or ".join(map(json.dumps, self._values))
        told = f"leave it out, or send {accepted}" if accepted else "leave it out"
        raise ValueError(f"this is not implemented here; {told}")


def _same(value: object, accepted: object) -> bool:
    # 1 and 1.0 are one number of JSON, and true is none.
    return value == accepted and isinstance(value, bool) is isinstance(accepted, bool)
