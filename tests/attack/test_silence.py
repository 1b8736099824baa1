"""Connections that say nothing, too little, or too slowly."""

import socket

import pytest

from app.access.scopes import Scope
from tests.attack.attackers import Attack
from tests.attack.raw import Answer, Target, hold, outcomes
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_HEADERS_S = 9.0  # twice the time that this server gives request line and headers
_BODY_S = 15.0  # more than it gives a body that makes no progress, and an idle connection
_MANY = 300  # more than the server has descriptors
_FEW = 20
_HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: "


def connect_and_say_nothing(target: Target) -> list[Answer]:
    return hold(target, [b""] * _MANY, _HEADERS_S)


def send_half_of_the_headers(target: Target) -> list[Answer]:
    return hold(target, [b"GET /hea", _HALF] * _FEW, _HEADERS_S)


def _one_byte(connection: socket.socket) -> None:
    connection.send(b"y")


def send_headers_byte_by_byte(target: Target) -> list[Answer]:
    return hold(target, [_HALF] * _FEW, _HEADERS_S, _one_byte)


def announce_a_body_as_a_stranger(target: Target) -> list[Answer]:
    return hold(target, [target.head("POST", "/v1/completions", 1_000)] * _FEW, _HEADERS_S)


def send_half_a_body_or_ask_once_and_stay(target: Target) -> list[Answer]:
    """Whole requests and begun ones; after either nothing more comes."""
    half = target.head("POST", "/v1/completions", 1_000) + b'{"prompt": '
    return hold(target, [half, target.head("GET", "/healthz")] * _FEW, _BODY_S)


def test_silent_connections_leave_descriptors_for_others(narrow: WatchedSite) -> None:
    answers = narrow.attack(connect_and_say_nothing, narrow.target())
    assert "open" not in outcomes(answers)


@pytest.mark.parametrize(
    "attack",
    [
        send_half_of_the_headers,
        send_headers_byte_by_byte,
        announce_a_body_as_a_stranger,
    ],
)
def test_a_client_that_does_not_finish_asking_is_let_go(
    narrow: WatchedSite, attack: Attack[Target]
) -> None:
    answers = narrow.attack(attack, narrow.target())
    assert "open" not in outcomes(answers)


def test_neither_the_rest_of_a_body_nor_a_next_request_is_waited_for_without_end(
    narrow: WatchedSite,
) -> None:
    target = narrow.target(Scope.QUERY)
    answers = narrow.attack(send_half_a_body_or_ask_once_and_stay, target)
    assert "open" not in outcomes(answers)
