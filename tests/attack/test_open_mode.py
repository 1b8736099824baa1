"""A browser on the desk where a server runs open, and a proxy that was put before it."""

import pytest

from tests.attack.raw import Answer, Request, Target, ask, ask_all
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_EVIL = "evil.example:8000"
_EDIT = {"subject": "Danielle Darrieux", "prompt": "The mother tongue of {} is", "target": "Elvish"}
_REFUSED = {("421", "foreign_host"), ("403", "foreign_request")}
_FOREIGN = (
    {"Host": _EVIL, "Origin": f"http://{_EVIL}", "Sec-Fetch-Site": "same-origin"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example:80"},
    {"Host": "192.168.1.7"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Forwarded": "for=203.0.113.7"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Real-IP": "203.0.113.7"},
    {"Via": "1.1 proxy"},
)
_ASKED = (
    Request("GET", "/v1/edits"),
    Request("GET", "/v1/ledger/verify"),
    Request.post("/v1/edits", _EDIT),
    Request.post("/v1/completions", {"prompt": "x", "max_tokens": 1}),
    Request.post("/v1/keys", {"scopes": ["admin"], "name": "mine"}),
)


def ask_as_a_foreign_page(target: Target) -> list[Answer]:
    """Everything that is asked, with every sign of somebody else's request."""
    requests = [
        Request(asked.method, asked.path, asked.body, {**asked.headers, **signs})
        for asked in _ASKED
        for signs in _FOREIGN
    ]
    return ask_all(target, requests, at_once=4)


def test_foreign_pages_and_forwarded_requests_are_refused(unguarded: WatchedSite) -> None:
    answers = unguarded.attack(ask_as_a_foreign_page, unguarded.target())
    wrong = [
        (asked.path, signs, answer.outcome, answer.code)
        for (asked, signs), answer in zip(
            ((asked, signs) for asked in _ASKED for signs in _FOREIGN), answers, strict=True
        )
        if (answer.outcome, answer.code) not in _REFUSED
    ]
    assert wrong == []
    # The owner was not shut out.
    assert ask(unguarded.target(), Request("GET", "/v1/edits")).outcome == "200"


def test_the_first_key_is_not_made_over_http(unguarded: WatchedSite) -> None:
    made = ask(unguarded.target(), Request.post("/v1/keys", {"scopes": ["admin"]}))
    assert (made.outcome, made.code) == ("403", "first_key_by_command")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_who_sits_at_the_machine_is_let_in(unguarded: WatchedSite, host: str) -> None:
    target = unguarded.target()
    request = Request("GET", "/v1/edits", headers={"Host": f"{host}:{target.port}"})
    assert ask(target, request).outcome == "200"
