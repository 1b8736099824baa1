"""The one thread that runs the model for readers, so that the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

from app.kit.priority import Readers

T = TypeVar("T")


class GenerationThread:
    """Runs one piece of model work at a time, in the order of arrival.

    One thread because the arithmetic of one request already fills the machine. Long work is
    handed in piece by piece, so that it does not keep a short question waiting.

    Args:
        readers: Told of all work, so that edits can give way to it.
    """

    def __init__(self, readers: Readers | None = None) -> None:
        self._readers = readers or Readers()
        self._begun: set[Future[Any]] = set()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generation")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, computed on the thread; its exception passes through."""
        return await asyncio.wrap_future(self._hand_in(work))

    def submit(self, work: Callable[[], None]) -> None:
        """Have `work` done, after all that was handed in before; it must see to its own errors."""
        with suppress(RuntimeError):  # closed: what was left undone interests nobody any more
            self._hand_in(work)

    def _hand_in(self, work: Callable[[], T]) -> Future[T]:
        self._readers.enter()
        try:
            future = self._executor.submit(work)
        except RuntimeError:
            self._readers.leave()
            raise
        self._begun.add(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        self._begun.discard(future)
        self._readers.leave()

    def close(self, timeout_s: float | None = None) -> None:
        """Ends the thread after the work it has begun; work still waiting is dropped.

        Args:
            timeout_s: How long to wait for that; None waits until it is done.
        """
        self._executor.shutdown(wait=False, cancel_futures=True)
        wait(self._begun.copy(), timeout_s)
