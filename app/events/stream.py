"""Events as server-sent events: what a browser's `EventSource` reads, and resumes by itself."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from app.database.database import Database
from app.database.tables.operations import OperationKind
from app.errors import DatabaseUnavailable, KeyNeeded
from app.events import service
from app.events.hub import Hub
from app.events.schemas import EventResource
from app.events.service import Page
from app.kit.logs import get_logger

_READMITTED_EVERY_S = 3.0  # a stream ends this soon after its key was revoked or expired
_RETRY_MS = 1_000  # how soon a client that lost the stream shall come back
_END = format_sse_event(event="end", data_str="{}")
_log = get_logger(__name__)


@dataclass(frozen=True)
class Listener:
    """Someone who is told of events, of one edit or of all.

    Attributes:
        hub: Tells when there is something new.
        database: Where everything older is.
        keep_alive_s: Silence after which it says that it is still there, in seconds.
        readmit: Raises once its key was revoked or has expired; called every few seconds.
    """

    hub: Hub
    database: Database
    keep_alive_s: float
    readmit: Callable[[], Awaitable[object]]

    async def frames(self, after: int, edit_id: str | None = None) -> AsyncGenerator[bytes]:
        """Everything after an event, of one edit or of all, as it is sent.

        The stream of an edit says `end` when the edit has ended. A stream that merely stops, since
        the service does or the database is away, is to be resumed.
        """
        # Without data no client sees it, but one that is cut off before the first event comes back
        # with this as the last.
        yield format_sse_event(id=str(after), retry=_RETRY_MS)
        try:
            async with aclosing(self._pages(after, edit_id)) as pages:
                async for page in pages:
                    yield b"".join(map(_frame, page.events)) or KEEPALIVE_COMMENT
                    if edit_id is not None and page.ends:
                        yield _END
                        return
        except (DatabaseUnavailable, KeyNeeded) as error:
            _log.info("stream_stopped", error=str(error))

    async def _pages(self, after: int, edit_id: str | None) -> AsyncGenerator[Page]:
        """What is new each time something is, or nothing if nothing was for a while."""
        now, readmitted_every_s = asyncio.get_running_loop().time, self._readmitted_every_s
        silent_until, ask_again = now() + self.keep_alive_s, now() + readmitted_every_s
        while not self.hub.is_closed:
            page = self.hub.recent(after, edit_id) or await self._read(after, edit_id)
            after = page.upto
            if now() >= ask_again:
                await self.readmit()
                ask_again = now() + readmitted_every_s
            if page.events or now() >= silent_until:
                yield page
                silent_until = now() + self.keep_alive_s
            if page.is_last:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(silent_until, ask_again)):
                        await self.hub.beyond(after)

    @property
    def _readmitted_every_s(self) -> float:
        return min(self.keep_alive_s, _READMITTED_EVERY_S)

    async def _read(self, after: int, edit_id: str | None) -> Page:
        return await run_in_threadpool(service.read, self.database, after, edit_id)


def _frame(event: EventResource) -> bytes:
    """An event of an edit is named by its status, one of undoing by what undoes."""
    name = event.status if event.kind is OperationKind.EDIT else event.kind
    return format_sse_event(
        id=str(event.number), event=name.value, data_str=event.model_dump_json()
    )
