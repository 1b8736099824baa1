import asyncio
from collections.abc import Iterator
from threading import Event, current_thread

import pytest

from app.kit.lane import Lane, Shared

_SOON_S = 20.0


class Work:
    """Goes on until it is let go, or told to stop; counts its runs."""

    def __init__(self) -> None:
        self.may_end = Event()
        self.begun = Event()
        self.stopped = 0
        self.runs = 0

    def __call__(self, stop: Event) -> int:
        self.runs += 1
        run = self.runs
        self.begun.set()
        while not self.may_end.wait(0.01):
            if stop.is_set():
                self.stopped += 1
                break
        return run


async def _begun(work: Work) -> None:
    assert await asyncio.to_thread(work.begun.wait, _SOON_S)


def test_one_piece_is_done_at_a_time_on_the_lanes_own_thread() -> None:
    inside, names = list[int](), set[str]()

    def piece(_: Event) -> None:
        inside.append(1)
        assert sum(inside) == 1
        names.add(current_thread().name)
        inside.append(-1)

    async def run() -> None:
        lane = Lane("expensive")
        await asyncio.gather(*(lane.run(piece) for _ in range(20)))
        lane.close()

    asyncio.run(run())
    assert len(inside) == 40
    assert names == {"expensive_0"}


def test_work_that_nobody_waits_for_is_told_to_stop_and_what_waits_behind_it_is_done() -> None:
    async def run() -> None:
        lane, endless = Lane("expensive"), Work()
        left = asyncio.create_task(lane.run(endless))
        await _begun(endless)
        never = asyncio.create_task(lane.run(endless))
        behind = asyncio.create_task(lane.run(lambda _: "done"))
        await asyncio.sleep(0)
        left.cancel()
        never.cancel()
        async with asyncio.timeout(_SOON_S):
            assert await behind == "done"
        assert (endless.stopped, endless.runs) == (1, 1)
        lane.close()

    asyncio.run(run())


def test_a_lane_that_is_closed_ends_what_runs() -> None:
    async def run() -> None:
        lane, endless = Lane("expensive"), Work()
        working = asyncio.create_task(lane.run(endless))
        await _begun(endless)
        await asyncio.to_thread(lane.close)
        assert await working == 1
        assert endless.stopped == 1

    asyncio.run(run())


def test_parts_are_made_when_they_are_taken() -> None:
    made = list[int]()

    def parts() -> Iterator[int]:
        for number in range(1, 4):
            made.append(number)
            yield number

    async def run() -> None:
        lane = Lane("expensive")
        coming = lane.each(parts())
        assert await anext(coming) == 1
        assert made == [1]
        assert [part async for part in coming] == [2, 3]
        lane.close()

    asyncio.run(run())


def test_all_who_ask_during_a_run_share_the_next_one() -> None:
    async def run() -> None:
        lane, work = Lane("expensive"), Work()
        shared = Shared(lane, work)
        first = asyncio.create_task(shared.result())
        await _begun(work)
        others = [asyncio.create_task(shared.result()) for _ in range(30)]
        await asyncio.sleep(0)
        work.may_end.set()
        async with asyncio.timeout(_SOON_S):
            # A run that had begun may not have seen what they know of.
            assert await first == 1
            assert await asyncio.gather(*others) == [2] * 30
            assert await shared.result() == 3
        lane.close()

    asyncio.run(run())


def test_a_shared_run_goes_on_as_long_as_one_waits_for_it() -> None:
    async def run() -> None:
        lane, work = Lane("expensive"), Work()
        shared = Shared(lane, work)
        asking = [asyncio.create_task(shared.result()) for _ in range(3)]
        await _begun(work)
        asking[0].cancel()
        asking[1].cancel()
        await asyncio.gather(*asking[:2], return_exceptions=True)
        work.may_end.set()
        async with asyncio.timeout(_SOON_S):
            assert await asking[2] == 1
        assert work.stopped == 0

        work.may_end.clear()
        work.begun.clear()
        last = asyncio.create_task(shared.result())
        await _begun(work)
        last.cancel()
        async with asyncio.timeout(_SOON_S):
            await lane.run(lambda _: None)  # its turn comes once that has stopped
        assert work.stopped == 1
        work.may_end.set()
        assert await shared.result() == 3
        lane.close()

    asyncio.run(run())


def test_a_failure_is_told_to_all_and_not_kept() -> None:
    outcomes = iter([ZeroDivisionError(), None])

    def fail_once(_: Event) -> str:
        if (error := next(outcomes)) is not None:
            raise error
        return "fine"

    async def run() -> None:
        lane = Lane("expensive")
        shared = Shared(lane, fail_once)
        found = await asyncio.gather(*(shared.result() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [ZeroDivisionError] * 3
        assert await shared.result() == "fine"
        lane.close()

    asyncio.run(run())


@pytest.mark.parametrize("left", [1, 2])
def test_a_run_that_all_left_before_it_began_is_not_done(left: int) -> None:
    async def run() -> None:
        lane, work, shared_work = Lane("expensive"), Work(), Work()
        shared_work.may_end.set()
        shared = Shared(lane, shared_work)
        busy = asyncio.create_task(lane.run(work))
        await _begun(work)
        asking = [asyncio.create_task(shared.result()) for _ in range(left)]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        work.may_end.set()
        await busy
        assert await shared.result() == 1
        lane.close()

    asyncio.run(run())
