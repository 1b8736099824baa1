"""Views of old revisions: few are in memory at a time, each shared by all who ask for it."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio.to_thread

from app.errors import RevisionWithdrawn, TooManyViews
from app.resident.resident import RequireServed, View

_WAIT_S = 10.0
_BUILDERS = 2  # a near revision need not wait for a far one; each takes memory while it is built


@dataclass
class _Kept:
    """A view, or one that is being built, and how many use it."""

    built: asyncio.Future[None] = field(init=False)
    view: View = field(init=False)
    users: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether it may go. While it is built it takes memory, even if no request waits for it."""
        return not self.users and self.built.done()


class OldViews:
    """Views of old revisions: those in use, and idle ones as long as there is room.

    Two are built at a time, on threads of their own. All state is touched on one event loop.

    Args:
        build: Makes the view of a revision; takes a while.
        require_served: Asked before each use; raises where a revision was withdrawn.
        most: How many there are at the same time.
        wait_s: How long a further revision waits until one may go, in seconds.
    """

    def __init__(
        self,
        build: Callable[[int], View],
        require_served: RequireServed,
        *,
        most: int,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._build, self._require_served = build, require_served
        self._most, self._wait_s = most, wait_s
        self._kept = OrderedDict[int, _Kept]()  # the one that was used longest ago is first
        self._freed = asyncio.Event()
        self._threads = ThreadPoolExecutor(_BUILDERS, thread_name_prefix="rebuilding")

    def __contains__(self, revision: int) -> bool:
        """Whether a revision is there, or will be without further work."""
        return revision in self._kept

    def __len__(self) -> int:
        """How many there are."""
        return len(self._kept)

    @asynccontextmanager
    async def held(self, revision: int) -> AsyncIterator[View]:
        """The view of a revision, which stays as long as the context.

        Raises:
            TooManyViews: So many others are in use, for longer than this waits.
            UnknownRevision: There is no such revision.
            RevisionWithdrawn: It is not served any more.
        """
        await self.require_served(revision)
        kept = await self._place(revision)
        try:
            await asyncio.shield(kept.built)
            yield kept.view
        finally:
            kept.users -= 1
            if kept.is_idle:
                self._tell()

    async def require_served(self, revision: int) -> None:
        """Make sure that a revision may be shown; the view of one that may not be is let go.

        Raises:
            RevisionWithdrawn: It may not.
        """
        try:
            await anyio.to_thread.run_sync(self._require_served, revision)
        except RevisionWithdrawn:
            self._drop(revision)
            raise

    def close(self) -> None:
        """Have the threads end after the views that they build, without waiting for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _drop(self, revision: int) -> None:
        """Let go of a view that is not served any more, once the last one who uses it is done."""
        kept = self._kept.get(revision)
        if kept is not None and kept.is_idle:
            del self._kept[revision]
            self._tell()

    async def _place(self, revision: int) -> _Kept:
        try:
            async with asyncio.timeout(self._wait_s):
                while (kept := self._kept.get(revision) or self._begin(revision)) is None:
                    await self._freed.wait()
        except TimeoutError:
            raise TooManyViews(self._most, self._wait_s) from None
        kept.users += 1
        self._kept.move_to_end(revision)
        return kept

    def _begin(self, revision: int) -> _Kept | None:
        """Begin to build a view in the place of an idle one; None if all are in use."""
        if len(self._kept) >= self._most:
            idle = next((number for number, kept in self._kept.items() if kept.is_idle), None)
            if idle is None:
                return None
            del self._kept[idle]
        loop = asyncio.get_running_loop()
        self._kept[revision] = kept = _Kept()
        kept.built = loop.run_in_executor(self._threads, self._fill, revision)
        kept.built.add_done_callback(lambda built: self._built(revision, built))
        return kept

    def _fill(self, revision: int) -> None:
        """Build a view, on one of the threads.

        It returns nothing: a thread that held its result for a moment would keep a view in memory
        beyond its time.
        """
        self._kept[revision].view = self._build(revision)

    def _built(self, revision: int, built: asyncio.Future[None]) -> None:
        if built.cancelled() or built.exception() is not None:
            self._kept.pop(revision, None)  # the next request builds it anew
        self._tell()

    def _tell(self) -> None:
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()
