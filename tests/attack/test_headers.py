"""A stranger's request line and headers, without end."""

import pytest

from tests.attack.attackers import Attack
from tests.attack.raw import Answer, Target, flood
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_LIMIT = 60_000_000
# What a server never reads may still lie in the buffers of both sockets.
_BUFFERED = 16_000_000
_REFUSALS = {"400", "414", "431", "closed"}
_CHUNK = b"b" * 65_536


def send_an_endless_header(target: Target) -> list[Answer]:
    return [flood(target, b"GET /healthz HTTP/1.1\r\nHost: x\r\nY: ", _CHUNK, _LIMIT)]


def send_headers_without_end(target: Target) -> list[Answer]:
    small = b"".join(b"X-%d: y\r\n" % number for number in range(6_000))
    return [flood(target, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", small, _LIMIT)]


def send_an_endless_url(target: Target) -> list[Answer]:
    return [flood(target, b"GET /", _CHUNK, _LIMIT)]


def send_an_endless_method(target: Target) -> list[Answer]:
    return [flood(target, b"", _CHUNK, _LIMIT)]


def send_an_endless_trailer(target: Target) -> list[Answer]:
    opening = b"POST /v1/edits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    return [flood(target, opening, _CHUNK, _LIMIT)]


def send_an_endless_chunk_extension(target: Target) -> list[Answer]:
    opening = b"POST /v1/edits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    return [flood(target, opening, _CHUNK, _LIMIT)]


@pytest.mark.parametrize(
    "attack",
    [
        send_an_endless_header,
        send_headers_without_end,
        send_an_endless_url,
        send_an_endless_method,
        send_an_endless_trailer,
        send_an_endless_chunk_extension,
    ],
)
def test_a_request_without_end_is_refused_after_its_beginning(
    keyed: WatchedSite, attack: Attack[Target]
) -> None:
    (answer,) = keyed.attack(attack, keyed.target())
    assert answer.outcome in _REFUSALS | {"401"}
    assert answer.sent < _BUFFERED
