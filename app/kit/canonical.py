"""JSON, and the one way to write it down that is hashed (RFC 8785)."""

import rfc8785
from pydantic import JsonValue

JsonObject = dict[str, JsonValue]


def canonical(value: object) -> str:
    """The RFC 8785 text of a record; numbers with a fraction must come as strings.

    Raises:
        TypeError: A float is somewhere in it: its text would differ between languages.
    """
    _refuse_floats(value)
    return rfc8785.dumps(value).decode()  # type: ignore[arg-type]


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError(f"a ledger payload holds the float {value!r}; write it as a string")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
