"""Tells everyone who listens to this process what is new, with one look at the database for all.

A listener is a place in the order of events and nothing else: what came lately is kept once for
all of them, and who is further behind reads the database. So nobody is waited for, and who reads
slowly or not at all costs no memory that grows.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

from starlette.concurrency import run_in_threadpool

from app.database.database import Database
from app.database.following import Follower
from app.errors import DatabaseUnavailable, TooManyListeners
from app.events import service
from app.events.schemas import EventResource
from app.events.service import Page
from app.kit.logs import get_logger

_KEPT = 1_000  # events, for all listeners together
_LOOK_EVERY_S = 0.5  # for what other processes write
_log = get_logger(__name__)


class Hub(Follower):
    """The newest events of one database.

    Args:
        database: Where events are; its commits in this process ring the hub.
        max_listeners: Most listeners at the same time.
        kept: How many events are held in memory.
        look_every_s: How often it looks although nothing rang, in seconds.

    Attributes:
        listeners: How many there are.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_listeners: int,
        kept: int = _KEPT,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        super().__init__(database, look_every_s)
        self._max_listeners = max_listeners
        # All events in (floor, newest]; as long as `newest` is 0, nothing is known.
        self._recent = deque[EventResource](maxlen=kept)
        self._floor = self._newest = 0
        self._moved = asyncio.Event()
        self.listeners = 0

    def close(self) -> None:
        """Let every listener go; call it on the event loop, before the server waits for them."""
        super().close()
        self._moved.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The place of one listener, for as long as the context lasts.

        Raises:
            TooManyListeners: All places are taken.
        """
        if self.listeners >= self._max_listeners:
            raise TooManyListeners(self._max_listeners)
        self.listeners += 1
        self._rung.set()
        try:
            yield
        finally:
            self.listeners -= 1
            self._rung.set()

    def recent(self, after: int, edit_id: str | None) -> Page | None:
        """What came after an event, of one edit or of all; None if that is not known here."""
        if not self._newest or after < self._floor:
            return None
        newer = [*takewhile(lambda event: event.number > after, reversed(self._recent))]
        events = tuple(event for event in reversed(newer) if edit_id in (None, event.operation))
        return Page(events, max(after, self._newest), is_last=True)

    async def beyond(self, after: int) -> None:
        """Wait until there is a newer event than this, or the hub is closed."""
        while self._newest <= after and not self.is_closed:
            await self._moved.wait()

    @property
    def _is_needed(self) -> bool:
        return self.listeners > 0

    async def _look(self) -> None:
        if not self.listeners:
            self._forget()
            return
        seen = self._newest
        try:
            if self._newest:
                await self._read_on()
            else:
                self._floor = self._newest = await run_in_threadpool(service.newest, self._database)
        except DatabaseUnavailable as error:
            _log.warning("events_interrupted", error=str(error))
        if self._newest != seen:
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    async def _read_on(self) -> None:
        is_last = False
        while not is_last:
            page = await run_in_threadpool(service.read, self._database, self._newest)
            for event in page.events:
                if len(self._recent) == self._recent.maxlen:
                    self._floor = self._recent[0].number
                self._recent.append(event)
            self._newest, is_last = page.upto, page.is_last

    def _forget(self) -> None:
        self._recent.clear()
        self._floor = self._newest = 0
