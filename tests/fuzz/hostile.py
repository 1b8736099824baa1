"""JSON that is written to break its readers."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from hypothesis import strategies as st

_PLACE = "the place of what is hostile"
_DEPTH = 2_000
_LARGE = 10_000_000


class Kind(StrEnum):
    """What is wrong with a document."""

    NOT_A_NUMBER = "not a number"
    SURROGATE = "surrogate"
    NUL = "NUL"
    DEPTH = "depth 2000"
    DUPLICATE = "duplicate key"
    LARGE = "10 MB"


_LITERALS = {
    Kind.NOT_A_NUMBER: ("NaN", "-Infinity", "1e999", "[NaN]", '{"NaN": NaN}'),
    Kind.SURROGATE: (r'"\ud800"', r'"x\udfff"', r'["\udc00\ud800"]', r'{"\ud800": 1}'),
    Kind.NUL: (r'"\u0000"', r'"a\u0000b"', r'["\u0000"]', r'{"\u0000": 1}', '"\x00"'),
    Kind.DEPTH: ("[" * _DEPTH + "]" * _DEPTH, '{"a":' * _DEPTH + "1" + "}" * _DEPTH),
    Kind.DUPLICATE: ("null", '"x"', "7", "[]", "{}", "true"),
    Kind.LARGE: (f'"{"x" * _LARGE}"', "[" + "1," * (_LARGE // 2) + "1]", "9" * _LARGE),
}


@st.composite
def hostile(draw: st.DrawFn, kind: Kind, body: object) -> bytes:
    """A document that is `body` but for one thing."""
    literal = draw(st.sampled_from(_LITERALS[kind]))
    body = json.loads(json.dumps(body)) or {"a": 1}
    container, key = draw(st.sampled_from(list(_places(body))))
    if kind is Kind.DUPLICATE and isinstance(key, str):
        literal = f"{json.dumps(container[key])}, {json.dumps(key)}: {literal}"
    container[key] = _PLACE
    return json.dumps(body).replace(json.dumps(_PLACE), literal).encode()


def _places(value: Any) -> Iterator[tuple[Any, str | int]]:
    """Every place inside a document, as what holds it and its key there."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
