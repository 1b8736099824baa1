"""Requests that wait for the end of an operation: what they cost while they do, and when not."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import event

from app.database.database import Database
from app.operations.endings import Endings
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.listening import serving
from tests.support.service import FACT
from tests.support.waiting import wait_until

_NEVER_S = 3600.0
_SOON_S = 20.0


@asynccontextmanager
async def following(database: Database) -> AsyncIterator[Endings]:
    """Endings that look only when something is committed."""
    endings = Endings(database, look_every_s=_NEVER_S)
    async with endings.following(), asyncio.timeout(_SOON_S):
        yield endings


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The transactions that read from a database."""
    begun = list[str]()

    def begin(_: object) -> None:
        begun.append("")

    event.listen(database._readers[0].engine, "begin", begin)
    yield begun
    event.remove(database._readers[0].engine, "begin", begin)


def test_an_end_is_seen_when_it_is_committed_and_one_before_at_once(history: History) -> None:
    for name in "abc":
        history.accept(name)

    async def run() -> None:
        async with following(history.database) as endings:
            waiting = [asyncio.create_task(endings.has_come(name, _NEVER_S)) for name in "abab"]
            await asyncio.sleep(0)
            await asyncio.to_thread(lambda: (history.claim(1), history.commit_edits(["a"])))
            assert await waiting[0]
            assert await waiting[2]
            assert not waiting[1].done()
            await asyncio.to_thread(lambda: (history.claim(1), history.commit_edits(["b"])))
            assert await waiting[1]
            assert await waiting[3]
            assert await endings.has_come("a", _NEVER_S)
            assert not await endings.has_come("c", 0.01)

    asyncio.run(run())


def test_any_number_of_waiters_asks_the_database_once_a_commit(history: History) -> None:
    names = [f"edit_{number}" for number in range(200)]
    for name in names:
        history.accept(name)

    async def run() -> None:
        async with following(history.database) as endings:
            with counted(history.database) as begun:
                waiting = [asyncio.create_task(endings.has_come(name, _NEVER_S)) for name in names]
                await asyncio.to_thread(lambda: (history.claim(1), history.commit_edits(names[:1])))
                assert await waiting[0]
                # Once for those who came, once after each of the two commits, and once more where
                # these came while it looked.
                assert len(begun) <= 6
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert not endings._awaited

    asyncio.run(run())


def test_all_are_let_go_when_it_ends(history: History) -> None:
    history.accept("a")

    async def run() -> None:
        endings = Endings(history.database, look_every_s=_NEVER_S)
        async with asyncio.timeout(_SOON_S):
            async with endings.following():
                waiting = asyncio.create_task(endings.has_come("a", _NEVER_S))
                await asyncio.sleep(0)
            assert not await waiting
            assert not await endings.has_come("a", _NEVER_S)

    asyncio.run(run())


@only_sqlite
def test_so_many_wait_and_all_others_are_answered_at_once(settings: Settings) -> None:
    few = settings.model_copy(update={"waiters_per_caller": 3})
    with serving(few) as served, ExitStack() as stack:
        waiters = served.services.budgets.waiters
        for number in range(3):
            stack.enter_context(_waiting(served.url, number))
        wait_until(lambda: waiters.taken == 3, _SOON_S, what="three that wait")
        answer = httpx2.post(
            f"{served.url}/v1/edits", json=FACT, headers={"Prefer": "wait=60"}, timeout=_SOON_S
        )
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
        stack.close()
        wait_until(lambda: waiters.taken == 0, _SOON_S, what="the places of those who left")


@only_sqlite
@pytest.mark.timeout(120)
def test_a_hundred_and_fifty_that_wait_take_no_threads_and_no_connections(
    settings: Settings,
) -> None:
    many = settings.model_copy(update={"waiters_per_caller": 200})
    with serving(many) as served, ExitStack() as stack:
        services = served.services
        for number in range(150):
            stack.enter_context(_waiting(served.url, number))
        wait_until(
            lambda: services.budgets.waiters.taken == 150, 60.0, what="a hundred and fifty who wait"
        )
        with counted(services.database) as begun:
            for _ in range(20):
                assert httpx2.get(f"{served.url}/v1/edits?limit=1", timeout=_SOON_S).is_success
            # Two a request of ours (who asks, and what for), and a look twice a second.
            assert len(begun) < 2 * 20 + 100


def _waiting(url: str, number: int) -> socket.socket:
    """A connection whose request waits for an edit that nobody executes."""
    address = urlsplit(url)
    body = json.dumps(FACT | {"subject": f"Subject {number}"}).encode()
    connection = socket.create_connection((address.hostname or "", address.port or 0))
    connection.sendall(
        b"POST /v1/edits HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n"
        b"Content-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return connection
