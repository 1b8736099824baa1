"""A request as the generation thread sees it, and the way back to whoever made it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from transformers import PreTrainedModel

from app.generation.engine import Ask, Piece


class Order:
    """All that one request asks of one model, and the way back to whoever listens.

    Attributes:
        model: The model to ask.
        asks: Prompts that were not begun yet.
        places: How many places its choices hold now.
        abandoned: Whether nobody listens any more; set by the listener.
    """

    def __init__(self, model: PreTrainedModel, asks: Sequence[Ask]) -> None:
        self.model = model
        self.asks = deque(asks)
        self.places = 0
        self.abandoned = False
        self._loop = asyncio.get_running_loop()
        self._inbox = asyncio.Queue[Piece | Exception]()

    def deliver(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces to the listener; for the generation thread."""
        self._send(pieces)

    def fail(self, error: Exception) -> None:
        """Tell the listener that nothing more comes; for the generation thread."""
        self.abandoned = True
        self._send([error])

    async def next(self) -> Piece:
        """The next piece; for the listener."""
        found = await self._inbox.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _send(self, found: Sequence[Piece | Exception]) -> None:
        if found:
            with suppress(RuntimeError):  # the loop is closed: nobody can listen any more
                self._loop.call_soon_threadsafe(self._receive, found)

    def _receive(self, found: Sequence[Piece | Exception]) -> None:
        for item in found:
            self._inbox.put_nowait(item)
