"""Looking at the database each time something is committed, for all who wait for it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from app.database.database import Database


class Follower(ABC):
    """Looks at the database after each commit of this process, and at intervals while needed.

    The intervals are for what other processes commit. All state is touched on one event loop.

    Args:
        database: What is looked at.
        look_every_s: The interval, in seconds.

    Attributes:
        is_closed: Whether everybody who waits is to go.
    """

    def __init__(self, database: Database, look_every_s: float) -> None:
        self._database, self._look_every_s = database, look_every_s
        self._rung = asyncio.Event()
        self.is_closed = False

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Look on this event loop until the context ends."""
        task = asyncio.create_task(self._follow(), name=type(self).__name__)
        try:
            yield
        finally:
            self.close()
            await task

    def close(self) -> None:
        """Let everybody who waits go; call it on the event loop."""
        self.is_closed = True
        self._rung.set()

    @property
    @abstractmethod
    def _is_needed(self) -> bool:
        """Whether somebody waits."""

    @abstractmethod
    async def _look(self) -> None:
        """Read what is new for those who wait, if somebody does, and tell them."""

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            with self._database.telling(partial(loop.call_soon_threadsafe, self._rung.set)):
                while not self.is_closed:
                    self._rung.clear()
                    await self._look()
                    await self._sleep()
        finally:
            self.close()  # rather than leave somebody waiting for nothing

    async def _sleep(self) -> None:
        """Wait until something rings, or until it is time to look for those who wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_every_s if self._is_needed else None):
                await self._rung.wait()
