"""Answers that are asked for and not read, and clients that are gone before theirs."""

from itertools import chain, repeat

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Target, exchange, hold, statuses
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_HELD_S = 5.0
_UNREAD = 40
_PIPELINED = 2_000
_LEAVERS = 200
_STREAM = b'{"prompt": "Paris", "max_tokens": 500, "stream": true}'


def leave_answers_unread(target: Target) -> list[Answer]:
    """Ask for long answers, many a connection, and read none of them."""
    for connection in (opened := [target.connect() for _ in range(_UNREAD)]):
        connection.sendall(target.head("GET", "/openapi.json") * 50)
    for connection in opened:
        connection.close()
    return [Answer("unread")] * _UNREAD


def pipeline_without_reading(target: Target) -> list[Answer]:
    heads = target.head("GET", "/openapi.json") * _PIPELINED
    return [Answer(status) for status in statuses(exchange(target, heads, 10.0))]


def leave_before_the_answer(target: Target) -> list[Answer]:
    """Send whole and half requests, and close at once."""
    stranger = Target(target.host, target.port)
    whole = target.head("POST", "/v1/completions", len(_STREAM)) + _STREAM
    half = target.head("POST", "/v1/completions", 1_000) + b'{"prompt": '
    unknown = stranger.head("POST", "/v1/edits", 100_000) + b"{"
    kinds = (whole, half, unknown, target.head("GET", "/v1/models"))
    for opening in chain.from_iterable(repeat(kinds, _LEAVERS // len(kinds))):
        with target.connect() as connection:
            connection.sendall(opening)
    return [Answer("left")] * _LEAVERS


def hold_streams_unread(target: Target) -> list[Answer]:
    opening = target.head("POST", "/v1/completions", len(_STREAM)) + _STREAM
    return hold(target, [opening] * _UNREAD, _HELD_S)


def test_unread_answers_are_not_gathered(keyed: WatchedSite) -> None:
    keyed.attack(leave_answers_unread, keyed.target())


def test_few_requests_may_run_ahead_of_their_answers(keyed: WatchedSite) -> None:
    answers = keyed.attack(pipeline_without_reading, keyed.target())
    assert {answer.outcome for answer in answers} <= {"200", "400", "closed"}


def test_streams_that_are_left_open_cost_others_nothing(keyed: WatchedSite) -> None:
    keyed.attack(hold_streams_unread, keyed.target(Scope.QUERY))


def test_a_client_that_leaves_is_no_error_of_the_server(keyed: WatchedSite) -> None:
    keyed.attack(leave_before_the_answer, keyed.target(Scope.QUERY))
    log = keyed.server.log.read_text()
    assert "Exception in ASGI application" not in log
    assert "Traceback" not in log
