"""Reading what one has written: `X-Min-Revision`."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from app.errors import InvalidField, RevisionNotServed
from app.resident.resident import Resident

MIN_REVISION_HEADER = "X-Min-Revision"


class Freshness:
    """Keeps requests waiting until the served head is as new as they need it.

    Args:
        resident: What is served.
        committed: The newest revision of the ledger, whoever committed it; may block.
        wait_s: Longest wait, in seconds.
    """

    def __init__(self, resident: Resident, committed: Callable[[], int], *, wait_s: float) -> None:
        self._resident = resident
        self.committed = committed
        self._wait_s = wait_s

    async def reach(self, minimum: int) -> None:
        """Return once the served head is `minimum` or later.

        Raises:
            InvalidField: No such revision is committed, so nobody can have seen it.
            RevisionNotServed: It is committed, but not served in time.
        """
        if self._resident.head >= minimum:
            return
        committed = await run_in_threadpool(self.committed)
        if minimum > max(committed, self._resident.head):
            raise InvalidField(
                MIN_REVISION_HEADER,
                f"{MIN_REVISION_HEADER} asks for revision {minimum}, but the newest is {committed};"
                " name a revision that an edit or an answer was given",
            )
        loop, moved = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the service stopped meanwhile
                loop.call_soon_threadsafe(moved.set)

        with self._resident.telling(wake):
            try:
                async with asyncio.timeout(self._wait_s):
                    while self._resident.head < minimum:
                        await moved.wait()
                        moved.clear()
            except TimeoutError as error:
                raise RevisionNotServed(minimum, self._resident.head, self._wait_s) from error
