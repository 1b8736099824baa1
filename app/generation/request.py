"""A request as the generation thread sees it, and the way back to whoever made it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from transformers import PreTrainedModel

from app.generation.engine import Chunk, Prompt


class EngineRequest:
    """All that one request asks of one model, and the way back to its listener.

    Attributes:
        model: The model that is asked.
        prompts: Prompts that were not begun yet.
        slots: How many slots its choices hold now.
        abandoned: Whether the client has left; set by the generator that it read.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Prompt]) -> None:
        self.model = model
        self.prompts = deque(prompts)
        self.slots = 0
        self.abandoned = False
        self._loop = asyncio.get_running_loop()
        self._inbox = asyncio.Queue[Chunk | Exception]()

    def deliver(self, chunks: Sequence[Chunk]) -> None:
        """Hand chunks to the listener; for the generation thread."""
        self._send(chunks)

    def fail(self, error: Exception) -> None:
        """Tell the listener that nothing more comes; for the generation thread."""
        self.abandoned = True
        self._send([error])

    async def next(self) -> Chunk:
        """The next chunk; for the listener."""
        found = await self._inbox.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _send(self, found: Sequence[Chunk | Exception]) -> None:
        if found:
            with suppress(RuntimeError):  # the loop is closed: nobody can listen any more
                self._loop.call_soon_threadsafe(self._receive, found)

    def _receive(self, found: Sequence[Chunk | Exception]) -> None:
        for item in found:
            self._inbox.put_nowait(item)
