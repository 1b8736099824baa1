import os
import sys
import threading

import pytest

from app.kit.priority import Readers, step_back

_SOON_S = 10.0


def goes_on(readers: Readers) -> threading.Event:
    """Set once a thread that gives way again and again has been let through at last."""
    went_on = threading.Event()

    def work() -> None:
        readers.give_way()
        went_on.set()

    threading.Thread(target=work, daemon=True).start()
    return went_on


def test_an_edit_goes_on_at_once_where_nobody_reads() -> None:
    assert goes_on(Readers()).wait(_SOON_S)


def test_an_edit_waits_until_the_last_reader_has_left() -> None:
    readers = Readers(patience_s=1000)
    readers.enter()
    readers.enter()
    went_on = goes_on(readers)
    readers.leave()
    assert not went_on.wait(0.1)
    readers.leave()
    assert went_on.wait(_SOON_S)


def test_an_edit_is_not_kept_for_ever() -> None:
    readers = Readers(patience_s=0.05)
    readers.enter()
    assert goes_on(readers).wait(_SOON_S)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_steps_back_alone_but_for_the_threads_it_starts() -> None:
    found = list[int]()

    def note() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, 0))

    def work() -> None:
        step_back()
        note()
        child = threading.Thread(target=note)
        child.start()
        child.join()

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert found == [min(before + 5, 19)] * 2


def test_before_a_short_step_it_waits_only_a_little() -> None:
    times = iter([0.0, 0.0, 0.01, 0.05])  # a step of 10 ms after the first pause
    readers = Readers(patience_s=1000, monotonic=lambda: next(times))
    readers.give_way()
    readers.enter()
    assert goes_on(readers).wait(_SOON_S)
