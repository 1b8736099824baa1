"""A key that counts no longer ends what is still being sent for it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest
from fastapi import APIRouter
from starlette.responses import StreamingResponse

from app.access.require import require
from app.access.scopes import Scope
from app.keys.bootstrap import revoke_key
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import bearer, first_key, kid
from tests.support.listening import Served, serving

pytestmark = only_sqlite
_WAIT_S = 10.0


class Drip:
    """An answer in two parts, the second when the test says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.router = APIRouter(dependencies=[require(Scope.EXPORT)])
        self.router.add_api_route("/v1/drip", self._answer)

    def _answer(self) -> StreamingResponse:
        return StreamingResponse(self._parts())

    def _parts(self) -> Iterator[bytes]:
        yield b"first\n"
        assert self.go_on.wait(_WAIT_S)
        yield b"second\n"
        yield b"third\n"


@pytest.fixture
def drip(monkeypatch: pytest.MonkeyPatch) -> Drip:
    monkeypatch.setattr("app.access.authentication._READMITTED_EVERY_S", 0.0)
    monkeypatch.setattr("app.database.engine.LOCK_TIMEOUT_S", 0.05)
    return Drip()


@pytest.fixture
def served(settings: Settings, drip: Drip) -> Iterator[Served]:
    with serving(settings, routers=[drip.router]) as served:
        yield served


def test_an_answer_is_cut_off_once_its_key_is_revoked(
    served: Served, drip: Drip, settings: Settings
) -> None:
    key = first_key(settings, Scope.EXPORT)
    with httpx2.stream("GET", f"{served.url}/v1/drip", headers=bearer(key)) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        revoke_key(settings, kid(key))
        drip.go_on.set()
        # Visibly not whole: the connection ends within the answer.
        with pytest.raises(httpx2.RemoteProtocolError):
            next(lines)


def test_an_answer_to_a_stranger_is_cut_off_by_the_first_key(
    served: Served, drip: Drip, settings: Settings
) -> None:
    with httpx2.stream("GET", f"{served.url}/v1/drip") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        first_key(settings)
        drip.go_on.set()
        with pytest.raises(httpx2.RemoteProtocolError):
            next(lines)


def test_an_answer_goes_on_while_its_key_counts_and_while_that_cannot_be_found_out(
    served: Served, drip: Drip, settings: Settings
) -> None:
    key = first_key(settings, Scope.EXPORT)
    with (
        httpx2.stream("GET", f"{served.url}/v1/drip", headers=bearer(key)) as answer,
        ExitStack() as stack,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "first"
        for _ in range(4):  # all connections that the doorkeeper has
            stack.enter_context(served.doorkeeper._reader.read()).connection()
        drip.go_on.set()
        assert list(lines) == ["second", "third"]
