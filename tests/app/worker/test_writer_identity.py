"""Who is taken for dead: never a process of another boot or namespace of numbers."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.database.database import Database
from app.kit import process
from app.kit.process import ProcessId
from app.worker.lease import Lease
from tests.support.waiting import wait_until

_PATIENCE_S = 15.0
_FREE = 2**22 - 1  # a number that no process has


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ended() -> ProcessId:
    """A process of this machine that has ended, and whose number is free or another's."""
    script = "from app.kit.process import ProcessId; print(ProcessId.own().to_text())"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return ProcessId.from_text(done.stdout.decode())


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives."""
    script = (
        "from app.kit.process import ProcessId; "
        "print(ProcessId.own().to_text(), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_a_process_is_gone_once_it_has_ended(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    other = ProcessId.from_text(child.stdout.readline().decode())
    assert not other.is_gone
    assert replace(other, started=other.started + 1).is_gone  # the number was given again
    child.kill()
    wait_until(lambda: other.is_gone, _PATIENCE_S)  # a zombie: nobody has waited for it
    child.wait()
    assert other.is_gone


@pytest.mark.parametrize("change", [{"boot": "b"}, {"namespace": "pid:[1]"}, {"boot": None}])
def test_a_number_of_another_place_says_nothing(
    ended: ProcessId, change: dict[str, str | None]
) -> None:
    assert ended.is_gone
    assert not replace(ended, **change).is_gone  # type: ignore[arg-type]


def test_without_proc_the_beat_decides(
    ended: ProcessId, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(process, "_PROC", tmp_path)
    assert (ProcessId.own().boot, ProcessId.own().namespace) == (None, None)
    assert not ended.is_gone


def test_writers_on_hosts_of_one_name_do_not_take_the_lease_from_each_other(
    database: Database,
) -> None:
    time = Time()
    here = ProcessId.own()
    # Two containers of one host name, each with numbers of its own.
    there = replace(here, pid=_FREE, namespace="pid:[1]")
    mine, theirs = (
        Lease(database, silence_s=3600.0, process=process, monotonic=time)
        for process in (here, there)
    )
    assert mine.acquire()
    assert not theirs.acquire()
    with mine.writing():
        pass
    assert not theirs.acquire()
    time.now += 3600.0
    assert theirs.acquire()  # no beat was seen for all that time
    assert not Lease(database, silence_s=3600.0, process=here, monotonic=time).acquire()
    theirs.release()
    mine.release()


def test_a_dead_holder_of_the_same_place_is_not_waited_for(
    database: Database, ended: ProcessId
) -> None:
    dead = Lease(database, silence_s=3600.0, process=ended)
    assert dead.acquire()
    lease = Lease(database, silence_s=3600.0, process=ProcessId.own())
    assert lease.acquire()
    lease.release()
    dead._ended.set()
