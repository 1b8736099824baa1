"""A thread of its own for one kind of expensive work, so that it takes no other work's turn."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import Generic, TypeVar

T = TypeVar("T")

Work = Callable[[Event], T]
"""``work(stop)``: ends soon once `stop` is set: its result is no longer needed."""


class Lane:
    """Does one piece of work at a time, in the order of arrival.

    Args:
        name: Of its thread.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = Lock()
        self._stops = set[Event]()

    async def run(self, work: Work[T]) -> T:
        """The result of `work`; when this is cancelled, the work is told to stop."""
        stop = Event()
        with self._lock:
            self._stops.add(stop)
        try:
            return await asyncio.wrap_future(self._thread.submit(work, stop))
        finally:
            stop.set()
            with self._lock:
                self._stops.discard(stop)

    async def each(self, parts: Iterator[T]) -> AsyncGenerator[T]:
        """Every part, made when the one before was taken; other work comes in between."""
        while True:
            part = await self.run(lambda _: next(parts, None))
            if part is None:
                return
            yield part

    def close(self) -> None:
        """End what runs and drop what waits."""
        with self._lock:
            for stop in self._stops:
                stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Round(Generic[T]):
    """One run, and how many wait for it."""

    task: asyncio.Task[T]
    waiting: int = 0


class Shared(Generic[T]):
    """Work whose result is the same for all who ask at the same time.

    Who asks while it runs gets the result of the next run, together with all others who did: a
    result is never older than the question, and no number of questions makes more than two runs.

    Args:
        lane: Where it is done.
        work: Does it.
    """

    def __init__(self, lane: Lane, work: Work[T]) -> None:
        self._lane, self._work = lane, work
        self._turn = asyncio.Lock()
        self._next: _Round[T] | None = None

    async def result(self) -> T:
        """The result; a run that no caller waits for is stopped."""
        if self._next is None:
            self._next = _Round(asyncio.create_task(self._run(), name="shared work"))
        shared = self._next
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()
                if self._next is shared:
                    self._next = None

    async def _run(self) -> T:
        async with self._turn:
            self._next = None  # who comes from here on may know of something newer
            return await self._lane.run(self._work)
