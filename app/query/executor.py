"""The one thread that runs the model for readers, so that the event loop stays free."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


class GenerationThread:
    """Runs one piece of model work at a time, in the order of arrival.

    One thread because the arithmetic of one request already fills the machine. Requests hand in
    their prompts one by one, so a long list of prompts does not keep a short question waiting.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generation")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, computed on the thread; its exception passes through."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    @asynccontextmanager
    async def hold(self, manager: AbstractContextManager[T]) -> AsyncIterator[T]:
        """Enters and leaves a blocking context manager on the thread.

        Leaving queues behind work already handed in, so a request that is cancelled cannot give
        up its view while the thread still computes with it.
        """
        value = await self.run(manager.__enter__)
        try:
            yield value
        finally:
            self._executor.submit(manager.__exit__, None, None, None)

    def close(self) -> None:
        """Ends the thread after the work it has begun; work still waiting is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)
