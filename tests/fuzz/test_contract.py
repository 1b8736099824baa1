"""Whatever anybody sends to any operation, the answer is one that its description names."""

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from app.settings import Settings
from tests.fuzz.contract_site import Site

_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
_FEW = 5
# `make contract` asks for many, and for every value at the edge of what a schema allows.
_EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", _FEW))
_MOST_TOKENS = 4
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_EVENTS = "text/event-stream"
_MOST_EVENTS = 3
_SILENCE_S = 1.0  # after which a stream of events is left

# The operations are the application's own: a new one is asked without anybody remembering it.
schema = schemathesis.openapi.from_dict(
    create_app(Settings()).openapi(),
    config=SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "max-stream-events": _MOST_EVENTS,
            "generation": {"with-security-parameters": False},
            "phases": {"coverage": {"enabled": _EXAMPLES > _FEW, "unexpected-methods": []}},
        }
    ),
)


@schema.parametrize()
@settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_is_described(case: Case[Any], served: Site) -> None:
    _ask_for_little(case.body)
    _ask_as_everybody(case, served)
    if _name_what_exists(case, served.known):
        _ask_as_everybody(case, served)


def _ask_for_little(body: Any) -> None:
    if isinstance(body, dict) and isinstance(body.get("max_tokens"), int):
        body["max_tokens"] = min(body["max_tokens"], _MOST_TOKENS)


def _ask_as_everybody(case: Case[Any], served: Site) -> None:
    checks, patience_s = [*_CHECKS, response_schema_conformance], _ANSWER_S
    if _is_answered_by_events(case):
        # FastAPI describes a stream as a string, and each event would be held against that; what
        # events say is tested where they are made.
        checks, patience_s = _CHECKS, _SILENCE_S
    for key in served.keys.values():
        case.call_and_validate(
            served.url, headers=key, checks=checks, timeout=(_CONNECT_S, patience_s)
        )


def _name_what_exists(case: Case[Any], known: Mapping[str, str | int]) -> bool:
    """Replace whatever the request names, since invented names only lead to 404; whether any."""
    parts: list[Any] = [case.path_parameters, case.headers, case.body]
    named = [
        (p, name) for p in parts if isinstance(p, MutableMapping) for name in known if name in p
    ]
    for part, name in named:
        part[name] = known[name]
    return bool(named)


def _is_answered_by_events(case: Case[Any]) -> bool:
    answer = case.operation.definition.raw["responses"].get("200", {}).get("content", {})
    return set(answer) == {_EVENTS}
