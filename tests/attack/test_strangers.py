"""Strangers who try every door, and what they learn from it."""

import json
import stat

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Request, Target, ask, ask_all, exchange, statuses
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_HELD = "/v1/edits"
_PATHS = (
    "/v1/edits/",
    "//v1/edits",
    "/v1//edits",
    "/V1/edits",
    "/v1/edits;x=1",
    "/v1/./edits",
    "/healthz/../v1/edits",
    "/docs/../v1/edits",
    "/docs/%2e%2e/v1/edits",
    "/docs%2f..%2fv1/edits",
    "/healthz//",
    "/metrics",
    "/metrics/",
    "/docs/x",
    "/v1/edits%20",
    "/v1/edits%2f",
    "/v1%2fedits",
    "/%76%31/edits",
    "/v1/edits?/healthz",
    "/healthz%00/v1/edits",
    "/healthz;/v1/edits",
)
_METHODS = ("HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND")
_SIGNS = (
    {"X-Original-URL": _HELD, "X-Rewrite-URL": _HELD},
    {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"X-HTTP-Method-Override": "GET"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"},
)
_SILENCE_S = 1.0


def try_every_door(target: Target) -> list[Answer]:
    requests = [Request("GET", path) for path in _PATHS]
    requests += [Request(method, _HELD) for method in _METHODS]
    requests += [Request("GET", _HELD, headers=signs) for signs in _SIGNS]
    return ask_all(target, requests, at_once=4)


def try_every_spelling_of_a_key(target: Target, key: str, other: str) -> list[Answer]:
    spellings: list[dict[str, str]] = [
        {"X-API-Key": key},
        {"Cookie": f"Authorization=Bearer {key}"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {key}, Bearer {other}"},
        {"Authorization": f"Bearer {key.swapcase()}"},
        {"Authorization": f"Bearer {key[:17]}{other[17:]}"},
        {"Authorization": f"Bearer lme_\xe9{key[5:]}"},
        {"Authorization": f"Bearer {key}x"},
    ]
    requests = [Request("GET", _HELD, headers=headers) for headers in spellings]
    requests.append(Request("GET", f"{_HELD}?api_key={key}&access_token={key}&key={key}"))
    return ask_all(target, requests, at_once=4)


def test_no_spelling_of_a_path_or_method_needs_no_key(keyed: WatchedSite) -> None:
    answers = keyed.attack(try_every_door, keyed.target())
    assert {answer.outcome for answer in answers} <= {"400", "401", "404", "405", "307"}


def test_a_key_is_a_bearer_token_and_nothing_else(keyed: WatchedSite) -> None:
    keys = [keyed.target(Scope.ADMIN).key or "", keyed.target(Scope.QUERY).key or ""]
    answers = keyed.attack(try_every_spelling_of_a_key, keyed.target(), *keys)
    assert {answer.outcome for answer in answers} <= {"400", "401"}


_SMUGGLED = "/smuggled"


def smuggle_requests(target: Target) -> list[Answer]:
    """Requests whose end proxies and servers have disagreed on."""
    hidden = f"GET {_SMUGGLED} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    post = target.head("POST", "/v1/edits").removesuffix(b"\r\n")
    forms = [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        b"Content-Length: %d\r\n\r\n" % len(hidden),
    ]
    received = [exchange(target, post + form + hidden, _SILENCE_S) for form in forms]
    return [Answer((statuses(part) or ["closed"])[0], part) for part in received]


def test_no_request_is_smuggled_in_another(keyed: WatchedSite) -> None:
    for answer in keyed.attack(smuggle_requests, keyed.target(Scope.EDIT)):
        assert answer.outcome in {"400", "413", "422", "501", "closed"}
        assert _SMUGGLED.encode() not in answer.body


def test_a_stranger_learns_nothing_from_readiness(keyed: WatchedSite) -> None:
    answer = ask(keyed.target(), Request("GET", "/readyz"))
    assert json.loads(answer.body).keys() <= {"status", "access"}


def test_nothing_that_holds_words_is_for_other_users(keyed: WatchedSite) -> None:
    readable = [
        str(path.relative_to(keyed.data_dir))
        for path in (keyed.data_dir, *sorted(keyed.data_dir.rglob("*")))
        if path.name != "calibration.txt" and stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    assert [path for path in readable if not path.startswith("cache")] == []
