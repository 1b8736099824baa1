import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.query.executor import GenerationThread


@pytest.fixture
def thread() -> Iterator[GenerationThread]:
    thread = GenerationThread()
    yield thread
    thread.close()


def test_work_runs_on_one_thread_that_is_not_the_loops(thread: GenerationThread) -> None:
    async def idents() -> set[int]:
        return set(await asyncio.gather(*(thread.run(threading.get_ident) for _ in range(5))))

    assert len(found := asyncio.run(idents())) == 1
    assert found != {threading.get_ident()}


def test_an_exception_reaches_whoever_asked(thread: GenerationThread) -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        asyncio.run(thread.run(fail))


def test_a_cancelled_request_gives_up_its_view_only_after_its_work(
    thread: GenerationThread,
) -> None:
    events: list[str] = []
    working, release = threading.Event(), threading.Event()

    @contextmanager
    def view() -> Iterator[None]:
        events.append("enter")
        yield
        events.append("leave")

    def work() -> None:
        working.set()
        release.wait(10)
        events.append("work")

    async def request() -> None:
        async with thread.hold(view()):
            await thread.run(work)

    async def cancel_it() -> None:
        task = asyncio.create_task(request())
        await asyncio.to_thread(working.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events == ["enter"]
        release.set()
        await thread.run(lambda: None)

    asyncio.run(cancel_it())
    assert events == ["enter", "work", "leave"]
