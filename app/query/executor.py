"""The one thread that runs the model for readers, so that the event loop stays free."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class GenerationThread:
    """Runs one piece of model work at a time, in the order of arrival.

    One thread because the arithmetic of one request already fills the machine. Long work is
    handed in piece by piece, so that it does not keep a short question waiting.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generation")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, computed on the thread; its exception passes through."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def submit(self, work: Callable[[], None]) -> None:
        """Have `work` done, after all that was handed in before; it must see to its own errors."""
        with suppress(RuntimeError):  # closed: what was left undone interests nobody any more
            self._executor.submit(work)

    def close(self) -> None:
        """Ends the thread after the work it has begun; work still waiting is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)
