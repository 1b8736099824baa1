"""Views of old revisions: how many there are, who shares them, and who waits."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakSet

import pytest
from transformers import PreTrainedModel

from app.errors import RevisionWithdrawn, TooManyViews, UnknownRevision
from app.kit.clock import utc_now
from app.resident.old_views import OldViews
from app.resident.resident import View

_SOON_S = 20.0
_NOT_LONG_S = 0.05


class Builder:
    """Makes views, and knows which of them are still alive."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.built = list[int]()
        self.threads = set[str]()
        self.alive = WeakSet[View]()
        self.most_alive = 0
        self.unknown = set[int]()
        self.withdrawn = set[int]()
        self.held_up = dict[int, threading.Event]()

    def require_served(self, revision: int) -> None:
        if revision in self.withdrawn:
            raise RevisionWithdrawn(revision, "erasure", utc_now())

    def __call__(self, revision: int) -> View:
        if revision in self.unknown:
            raise UnknownRevision(revision)
        if revision in self.held_up:
            self.held_up[revision].wait(_SOON_S)
        view = View(revision, self._model)
        self.built.append(revision)
        self.threads.add(threading.current_thread().name)
        self.alive.add(view)
        self.most_alive = max(self.most_alive, len(self.alive))
        return view


@asynccontextmanager
async def kept(builder: Builder, *, most: int, wait_s: float = _SOON_S) -> AsyncIterator[OldViews]:
    views = OldViews(builder, builder.require_served, most=most, wait_s=wait_s)
    async with asyncio.timeout(_SOON_S):
        yield views
    views.close()


@pytest.fixture
def builder(model: PreTrainedModel) -> Builder:
    return Builder(model)


def test_all_who_ask_for_a_revision_share_one_view(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=2) as views, AsyncExitStack() as stack:
            entering = [stack.enter_async_context(views.held(5)) for _ in range(20)]
            found = await asyncio.gather(*entering)
            assert len({id(view) for view in found}) == 1

    asyncio.run(run())
    assert builder.built == [5]


def test_no_more_are_alive_than_may_be_whoever_asks_for_what(builder: Builder) -> None:
    async def ask(views: OldViews, revision: int) -> None:
        async with views.held(revision) as view:
            assert view.revision == revision
            await asyncio.sleep(0)

    async def run() -> None:
        async with kept(builder, most=3) as views:
            await asyncio.gather(*(ask(views, number % 10) for number in range(200)))
            assert len(views) == 3

    asyncio.run(run())
    assert set(builder.built) == set(range(10))
    assert builder.most_alive <= 3
    assert builder.threads <= {"rebuilding_0", "rebuilding_1"}


def test_a_revision_that_takes_long_does_not_hold_up_another(builder: Builder) -> None:
    far = builder.held_up[1] = threading.Event()

    async def run() -> None:
        async with kept(builder, most=2) as views:
            waiting = asyncio.create_task(_revision_of(views, 1))
            await asyncio.sleep(0)
            try:
                assert await _revision_of(views, 2) == 2
                assert not waiting.done()
            finally:
                far.set()
            assert await waiting == 1

    asyncio.run(run())


def test_one_that_nobody_uses_stays_until_its_place_is_needed(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=2) as views:
            for revision in (1, 2, 1, 3, 1, 2):
                async with views.held(revision):
                    assert revision in views

    asyncio.run(run())
    assert builder.built == [1, 2, 3, 2]


def test_a_further_revision_waits_for_a_place_and_is_refused_in_time(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=1, wait_s=_NOT_LONG_S) as views:
            async with views.held(1):
                with pytest.raises(TooManyViews, match="1 revisions beside the head") as refused:
                    async with views.held(2):
                        pass
                assert int(refused.value.headers["Retry-After"]) > 0
                async with views.held(1):
                    pass  # what is there costs nothing
            async with views.held(2):
                pass

    asyncio.run(run())
    assert builder.built == [1, 2]


def test_who_waits_gets_the_place_that_becomes_free(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=1) as views:
            async with views.held(1):
                waiting = asyncio.create_task(_revision_of(views, 2))
                await asyncio.sleep(0)
                assert not waiting.done()
            assert await waiting == 2

    asyncio.run(run())


def test_a_revision_that_cannot_be_built_takes_no_place(builder: Builder) -> None:
    builder.unknown = {7}

    async def run() -> None:
        async with kept(builder, most=1) as views:
            for _ in range(2):
                with pytest.raises(UnknownRevision):
                    await _revision_of(views, 7)
            assert len(views) == 0
            assert await _revision_of(views, 1) == 1
            builder.unknown = set()
            assert await _revision_of(views, 7) == 7

    asyncio.run(run())


def test_who_leaves_while_a_view_is_built_frees_its_place(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=1) as views:
            leaving = [asyncio.create_task(_revision_of(views, 1)) for _ in range(5)]
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            assert await _revision_of(views, 2) == 2

    asyncio.run(run())


async def _revision_of(views: OldViews, revision: int) -> int:
    async with views.held(revision) as view:
        return view.revision


def test_a_withdrawn_revision_is_given_to_nobody_and_kept_by_nobody(builder: Builder) -> None:
    async def run() -> None:
        async with kept(builder, most=2) as views:
            async with views.held(5) as held:
                builder.withdrawn.add(5)
                with pytest.raises(RevisionWithdrawn):
                    await views.held(5).__aenter__()
                assert held.revision == 5  # who has it already ends with it
            with pytest.raises(RevisionWithdrawn):
                await views.held(5).__aenter__()
            assert 5 not in views
            assert not views._kept

    asyncio.run(run())
