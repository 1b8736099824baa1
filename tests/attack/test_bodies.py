"""Bodies that are small or large, and meant to be expensive to refuse."""

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Request, Target, ask, ask_all, exchange, outcomes, statuses
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_SIZE = 4_190_000  # the largest that is read is 4 MiB
_LONGEST_ANSWER = 65_536
_MOST_ERRORS = 20
_AT_ONCE = 4
_EDIT = b'{"subject": "a", "prompt": "{} b", "target": "c", '
_CHAT = b'{"messages": [{"role": "user", "content": ['


def _filled(beginning: bytes, item: bytes, end: bytes) -> bytes:
    """JSON with as many equal items as the largest body holds."""
    room = _SIZE - len(beginning) - len(end)
    return beginning + item[1:] + item * (room // len(item) - 1) + end


def _fields(beginning: bytes, count: int, end: bytes) -> bytes:
    return beginning + b",".join(b'"%d": 1' % number for number in range(count)) + end


def _deep(opening: bytes, closing: bytes) -> bytes:
    depth = _SIZE // (len(opening) + len(closing))
    return opening * depth + b"1" + closing * depth


_QUERIES = {
    "wrong parts of a message": ("/v1/chat/completions", _filled(_CHAT, b",{}", b"]}]}")),
    "empty parts of a message": (
        "/v1/chat/completions",
        _filled(_CHAT, b',{"type":"text","text":""}', b"]}]}"),
    ),
    "wrong messages": ("/v1/chat/completions", _filled(b'{"messages": [', b",{}", b"]}")),
    "unknown fields": ("/v1/completions", _fields(b"{", 300_000, b"}")),
    "wrong stops": ("/v1/completions", _filled(b'{"prompt": "x", "stop": [', b",1", b"]}")),
    "one prompt of ids": ("/v1/completions", _filled(b'{"prompt": [', b",1", b"]}")),
    "prompts of one id": ("/v1/completions", _filled(b'{"prompt": [', b",[1]", b"]}")),
    "prompts of no kind": ("/v1/completions", _filled(b'{"prompt": [', b",{}", b"]}")),
    "wrong probes": ("/v1/probe", _filled(b'{"items": [', b",{}", b"]}")),
    "revisions": ("/v1/compare", _filled(b'{"prompt": "x", "revisions": [', b",{}", b"]}")),
    "a number of a million digits": ("/v1/completions", b'{"max_tokens": ' + b"9" * 10**6 + b"}"),
    "a number without end": ("/v1/completions", b'{"prompt": "x", "temperature": 1e400}'),
    "more choices than 64 bits": ("/v1/completions", b'{"prompt": "x", "n": ' + b"9" * 40 + b"}"),
    "nested lists": ("/v1/completions", b'{"prompt": ' + _deep(b"[", b"]") + b"}"),
}
_EDITS = {
    "unknown fields": ("/v1/edits", _fields(b"{", 300_000, b"}")),
    "wrong labels": ("/v1/edits", _fields(_EDIT + b'"metadata": {', 300_000, b"}}")),
    "wrong neighbours": ("/v1/edits", _filled(_EDIT + b'"neighbours": [', b",{}", b"]}")),
    "wrong paraphrases": ("/v1/edits", _filled(_EDIT + b'"paraphrases": [', b",1", b"]}")),
    "unknown gates": ("/v1/edits", _fields(_EDIT + b'"gates": {', 300_000, b"}}")),
    "wrong edits": ("/v1/edit-batches", _filled(b'{"edits": [', b",{}", b"]}")),
    "edits with wrong neighbours": (
        "/v1/edit-batches",
        b'{"edits": ['
        + b",".join([b'{"neighbours": [' + b",".join([b"{}"] * 50) + b"]}"] * 1_000)
        + b"]}",
    ),
    "nested objects": ("/v1/edits", b'{"metadata": ' + _deep(b'{"a":', b"}") + b"}"),
}
_ADMIN = {
    "wrong scopes": ("/v1/keys", _filled(b'{"scopes": [', b',"x"', b"]}")),
    "unknown fields": ("/v1/keys", _fields(b"{", 300_000, b"}")),
}


def send_bodies_full_of_mistakes(
    target: Target, bodies: dict[str, tuple[str, bytes]]
) -> list[Answer]:
    requests = [Request.post(path, body) for path, body in bodies.values()]
    return ask_all(target, requests, at_once=_AT_ONCE)


@pytest.mark.parametrize(
    ("scope", "bodies"),
    [(Scope.QUERY, _QUERIES), (Scope.EDIT, _EDITS), (Scope.ADMIN, _ADMIN)],
    ids=["query", "edit", "admin"],
)
def test_a_body_is_refused_in_few_words(
    keyed: WatchedSite, scope: Scope, bodies: dict[str, tuple[str, bytes]]
) -> None:
    answers = keyed.attack(send_bodies_full_of_mistakes, keyed.target(scope), bodies)
    for name, answer in zip(bodies, answers, strict=True):
        assert answer.outcome in {"400", "413", "422"}, name
        assert answer.size <= _LONGEST_ANSWER, name


def test_a_refusal_counts_the_errors_that_it_does_not_list(keyed: WatchedSite) -> None:
    target = keyed.target(Scope.EDIT)
    answer = ask(target, Request.post("/v1/edits", _fields(b"{", 1_000, b"}")))
    assert answer.outcome == "422"
    assert answer.body.count(b"Extra inputs") <= _MOST_ERRORS


_NUMBERS = {
    "5000 zeros": b"0" * 5_000 + b"2",
    "5000 nines": b"9" * 5_000,
    "more than 64 bits": b"9" * 20,
    "a sign": b"+2",
    "less than nothing": b"-1",
    "a superscript": b"\xb2",
    "hexadecimal": b"0x2",
    "two": b"2, 2",
    "other than the first": b"2\r\nContent-Length: 3",
}
_LAST_EVENTS = ("9" * 5_000, "-1", "0x10", "1e3", "\xb2")


def announce_hostile_lengths(target: Target) -> list[Answer]:
    answers = []
    for length in _NUMBERS.values():
        head = target.head("POST", "/v1/edits").removesuffix(b"\r\n")
        received = exchange(target, head + b"Content-Length: " + length + b"\r\n\r\n{}", 5.0)
        answers.append(Answer((statuses(received) or ["closed"])[0]))
    return answers


def send_hostile_numbers(target: Target) -> list[Answer]:
    digits = "9" * 4_500
    paths = [f"/v1/edits?limit={digits}", f"/v1/edits?after={digits}", f"/v1/revisions/{digits}"]
    requests = [Request("GET", path) for path in paths]
    for value in _LAST_EVENTS:
        requests.append(Request("GET", "/v1/events", headers={"Last-Event-ID": value}))
    for value in (digits, "-1", "1e9"):
        headers = {"X-Min-Revision": value, "Prefer": f"wait={value}"}
        requests.append(Request.post("/v1/completions", {"prompt": "x"}, **headers))
    return ask_all(target, requests, at_once=1)


def test_a_length_is_never_an_error_of_the_server(keyed: WatchedSite) -> None:
    answers = keyed.attack(announce_hostile_lengths, keyed.target(Scope.EDIT))
    assert outcomes(answers).keys() <= {"400", "413", "422", "431", "closed"}


def test_a_number_is_never_an_error_of_the_server(keyed: WatchedSite) -> None:
    answers = keyed.attack(send_hostile_numbers, keyed.target(Scope.ADMIN))
    assert outcomes(answers).keys() <= {"400", "404", "414", "422", "431"}
