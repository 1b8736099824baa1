"""Who waits for the end of an operation, and the one who looks for all of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial

from starlette.concurrency import run_in_threadpool

from app.database.database import Database
from app.errors import DatabaseUnavailable
from app.observability.logs import get_logger
from app.operations import repository

_LOOK_EVERY_S = 0.5  # for what other processes commit
_log = get_logger(__name__)


class Endings:
    """Asks the database for all who wait at once, each time something is committed.

    Whoever waits holds no thread and no connection. All state is touched on one event loop.

    Args:
        database: Where operations are; its commits in this process have it look.
        look_every_s: How often it looks although nothing was committed here, in seconds.
    """

    def __init__(self, database: Database, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._database, self._look_every_s = database, look_every_s
        self._awaited = Counter[str]()
        self._rung, self._seen = asyncio.Event(), asyncio.Event()
        self._ended = frozenset[str]()
        self._is_closed = False

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Look on this event loop until the context ends."""
        task = asyncio.create_task(self._follow(), name="endings")
        try:
            yield
        finally:
            self.close()
            await task

    def close(self) -> None:
        """Let everybody go; call it on the event loop."""
        self._is_closed = True
        self._rung.set()
        self._tell(frozenset())

    async def has_come(self, operation_id: str, wait_s: float) -> bool:
        """Wait for an operation's end, at most `wait_s`; whether it came."""
        self._awaited[operation_id] += 1
        self._rung.set()  # it may have ended already
        try:
            async with asyncio.timeout(wait_s):
                while not self._is_closed:
                    await self._seen.wait()
                    if operation_id in self._ended:
                        return True
        except TimeoutError:
            pass
        finally:
            self._awaited -= Counter([operation_id])
        return False

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            with self._database.telling(partial(loop.call_soon_threadsafe, self._rung.set)):
                while not self._is_closed:
                    self._rung.clear()
                    if self._awaited:
                        await self._look()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._look_every_s if self._awaited else None):
                            await self._rung.wait()
        finally:
            self.close()  # rather than leave anybody waiting for nothing

    async def _look(self) -> None:
        try:
            ended = await run_in_threadpool(_ended_among, self._database, [*self._awaited])
        except DatabaseUnavailable as error:
            _log.warning("endings_not_seen", error=str(error))
        else:
            if ended:
                self._tell(ended)

    def _tell(self, ended: frozenset[str]) -> None:
        self._ended = ended
        seen, self._seen = self._seen, asyncio.Event()
        seen.set()


def _ended_among(database: Database, ids: Collection[str]) -> frozenset[str]:
    with database.read() as session:
        return frozenset(repository.ended(session, ids))
