import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from app.generation.thread import GenerationThread
from app.kit.priority import Readers


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


def test_work_is_done_in_the_order_it_was_handed_in(thread: GenerationThread) -> None:
    done: list[int] = []

    async def hand_in() -> None:
        for number in range(5):
            thread.submit(partial(done.append, number))
        await thread.run(lambda: None)

    asyncio.run(hand_in())
    assert done == list(range(5))


def test_edits_are_told_of_work_from_when_it_comes_until_it_is_done() -> None:
    readers = Readers(patience_s=1000)
    thread = GenerationThread(readers)
    release, order = threading.Event(), list[str]()

    def work() -> None:
        release.wait(10)
        order.append("query")

    def edit() -> None:
        readers.give_way()
        order.append("edit")

    thread.submit(work)
    editing = threading.Thread(target=edit)
    editing.start()
    release.set()
    editing.join()
    thread.close()
    assert order == ["query", "edit"]


def test_work_that_was_dropped_keeps_no_edit_waiting() -> None:
    readers = Readers(patience_s=1000)
    thread = GenerationThread(readers)
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(10)

    thread.submit(work)
    thread.submit(work)
    begun.wait(10)
    threading.Timer(0.1, release.set).start()
    thread.close()
    thread.submit(work)
    readers.give_way()  # would time out the test


def test_a_closed_thread_does_nothing_more(thread: GenerationThread) -> None:
    done: list[int] = []
    thread.close()
    thread.submit(partial(done.append, 1))
    assert done == []
