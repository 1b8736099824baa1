"""The hub without HTTP: what it keeps, what it reads, and whom it waits for."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager

from sqlalchemy import Engine, event

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.events.hub import Hub
from app.events.schemas import EventResource
from app.events.stream import Listener
from app.operations import events as repository
from tests.support.engines import only_sqlite
from tests.support.history import History

NEVER_S = 3600.0
SOON_S = 20.0
KEPT = 8


@asynccontextmanager
async def following(database: Database) -> AsyncIterator[Hub]:
    """A hub that looks only when it is rung for."""
    hub = Hub(database, max_listeners=100, kept=KEPT, look_every_s=NEVER_S)
    async with hub.following():
        yield hub


@asynccontextmanager
async def hearing(hub: Hub, database: Database, after: int) -> AsyncIterator[AsyncGenerator[bytes]]:
    """What one listener is sent, as far as the test asks for it."""

    async def readmit() -> None:
        return None

    listener = Listener(hub, database, keep_alive_s=NEVER_S, readmit=readmit)
    with hub.listening():
        async with aclosing(listener.frames(after)) as frames, asyncio.timeout(SOON_S):
            yield frames


async def numbers(frames: AsyncGenerator[bytes], upto: int) -> list[int]:
    """The numbers of all events up to one."""
    found: list[int] = []
    while not found or found[-1] < upto:
        lines = (await anext(frames)).splitlines()
        if lines[-2].startswith(b"id: "):  # not the first, which only says where it begins
            found += [int(line[4:]) for line in lines if line.startswith(b"id: ")]
    return found


def write(history: History, count: int) -> None:
    """So many events in one transaction."""
    with history.database.write() as session:
        for _ in range(count):
            repository.record(session, "a", EditStatus.ACCEPTED, now=history.clock())


@contextmanager
def counted_reads() -> Iterator[list[str]]:
    """Statements that look for events."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT") and "FROM events" in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


@only_sqlite
def test_who_does_not_read_costs_no_memory_delays_nobody_and_misses_nothing(
    history: History,
) -> None:
    history.accept("a")

    async def listen() -> None:
        database = history.database
        async with (
            following(database) as hub,
            hearing(hub, database, 1) as quick,
            hearing(hub, database, 1) as slow,
        ):
            await anext(slow)
            for upto in range(11, 102, 10):
                write(history, 10)
                assert (await numbers(quick, upto))[-1] == upto
            gc.collect()
            held = sum(type(thing) is EventResource for thing in gc.get_objects())
            assert held <= KEPT + 10  # and what `quick` was sent last
            assert await numbers(slow, 101) == list(range(2, 102))

    asyncio.run(listen())


@only_sqlite
def test_a_change_costs_one_look_at_the_database_however_many_listen(history: History) -> None:
    history.accept("a")

    async def listen() -> int:
        async with following(history.database) as hub, AsyncExitStack() as stack:
            listeners = [
                await stack.enter_async_context(hearing(hub, history.database, 0))
                for _ in range(50)
            ]
            for frames in listeners:
                assert await numbers(frames, 1) == [1]
            while hub.recent(1, None) is None:
                await asyncio.sleep(0)
            with counted_reads() as seen:
                write(history, 1)
                for frames in listeners:
                    assert await numbers(frames, 2) == [2]
        return len(seen)

    assert asyncio.run(listen()) <= 4  # statements, and the newest that joined may ring once more


@only_sqlite
def test_whoever_comes_whenever_gets_every_event_once_and_in_order(history: History) -> None:
    history.accept("a")
    chance = random.Random(0)
    sizes = [*chance.choices([1, 20, 450], k=8), 450]  # some are more than is read at once
    total = 1 + sum(sizes)

    async def listen(hub: Hub, begin: int) -> None:
        async with hearing(hub, history.database, begin) as frames:
            found = [begin]
            while found[-1] < total:
                found += await numbers(frames, found[-1] + 1)
                for _ in range(chance.randrange(50)):
                    await asyncio.sleep(0)
        assert found == list(range(begin, total + 1))

    async def all_listen() -> None:
        async with following(history.database) as hub, asyncio.TaskGroup() as group:
            newest = 1
            for size in sizes:
                group.create_task(listen(hub, chance.randrange(newest)))
                await asyncio.to_thread(write, history, size)
                newest += size

    asyncio.run(all_listen())


def test_without_a_database_a_stream_stops_and_the_hub_goes_on() -> None:
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")

    async def listen() -> list[bytes]:
        async with following(away) as hub, hearing(hub, away, 7) as frames:
            pieces = [piece async for piece in frames]
            assert not hub.is_closed
        return pieces

    assert asyncio.run(listen()) == [b"id: 7\nretry: 1000\n\n"]
    away.close()
