"""Processes that die at any moment: the real queue and its claims, with simulated time and work."""

import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.database.database import Database
from app.database.migration import upgrade
from app.database.tables.edits import Edit, EditStatus
from app.database.tables.lease import WriterLease
from app.database.tables.operations import Operation
from app.errors import LeaseLost
from app.kit.process import ProcessId
from app.metrics.metrics import Metrics
from app.operations import events
from app.operations import repository as operations
from app.worker.claims import Claims
from app.worker.lease import Lease
from tests.support.chain import check_chain
from tests.support.history import History

_BATCH = 16
_RESTART_S = 1.0
_POLL_S = 60.0
_CALM_S = 1_500.0  # after the last kill
_EDITS = 18


class Killed(Exception):
    """The process is gone."""


class Machine:
    """A worker's process, started again each time it dies.

    Args:
        history: What is to be executed.
        kills: When processes are killed, in seconds.
        solve_s: How long one edit takes; a batch takes as many times as long.
        poison: Edits that kill the process that begins them.
    """

    def __init__(
        self,
        history: History,
        kills: Sequence[float] = (),
        *,
        solve_s: float = 1.0,
        poison: Set[str] = frozenset(),
    ) -> None:
        self.history, self._kills, self._solve_s = history, sorted(kills), solve_s
        self._poison = poison
        self.now, self.deaths = 0.0, list[float]()
        self.lease = Lease(history.database, silence_s=3600.0, process=ProcessId.own())

    def run(self, until: float) -> None:
        """Let processes live and die until then."""
        while self.now < until:
            with suppress(Killed):
                self._pass(_RESTART_S)
                self._start()
                while self.now < until:
                    self._work()

    def end(self) -> None:
        """End in order."""
        self.lease.release()

    def _start(self) -> None:
        """A new process: it knows nothing, and has another lease than the one that died."""
        with self.history.database.write() as session:
            session.get_one(WriterLease, 1).fence += 1
        with suppress(LeaseLost), self.lease.writing():
            pass
        assert self.lease.acquire()
        self.claims = Claims(
            batch_size=_BATCH,
            clock=self.history.clock,
            actor="worker",
            metrics=Metrics(),
            monotonic=lambda: self.now,
        )

    def _work(self) -> None:
        run = self.claims.next(self.lease)
        if not run:
            self._pass(min(_POLL_S, self.claims.pause_s or _POLL_S))
            return
        ids = [operation.id for operation in run]
        if not self._poison.isdisjoint(ids):
            self._die()
        self._pass(self._solve_s * len(ids))
        self.history.commit_edits(ids)
        self.claims.ended()

    def _pass(self, seconds: float) -> None:
        if self._kills and self._kills[0] <= self.now + seconds:
            self.now = max(self.now, self._kills.pop(0))
            self._die()
        self.now += seconds

    def _die(self) -> None:
        self.deaths.append(self.now)
        raise Killed


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database's file, for copies."""
    path = tmp_path_factory.mktemp("kills") / "empty.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def new_history(empty: Path, tmp_path: Path) -> Iterator[Callable[[], History]]:
    """Makes histories, each in a database of its own."""
    opened = list[Database]()

    def make() -> History:
        path = tmp_path / f"{len(opened)}.db"
        shutil.copy(empty, path)
        opened.append(Database(f"sqlite:///{path}"))
        return History(opened[-1])

    yield make
    for database in opened:
        database.close()


def _statuses(history: History) -> set[EditStatus]:
    with history.database.read() as session:
        assert check_chain(session).ok
        return set(session.scalars(select(Edit.status)))


def _ever(history: History) -> set[EditStatus]:
    """Every status that an edit ever had."""
    with history.database.read() as session:
        return {event.status for event in events.after(session, 0, limit=100_000)}


def _operation(history: History, id: str) -> Operation:
    with history.database.read() as session:
        return operations.get(session, id)


_SIMULATED = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@_SIMULATED
@given(
    pauses=st.lists(st.floats(0.5, 60.0), max_size=9),
    solve_s=st.floats(1.0, 30.0),
)
def test_no_schedule_of_kills_that_ends_leaves_a_healthy_edit_dead(
    new_history: Callable[[], History], pauses: list[float], solve_s: float
) -> None:
    kills = [sum(pauses[: end + 1]) for end in range(len(pauses))]
    history = new_history()
    for number in range(_EDITS):
        history.accept(f"edit-{number}")
    machine = Machine(history, kills, solve_s=solve_s)
    machine.run(sum(pauses) + _CALM_S)
    machine.end()
    assert _statuses(history) == {EditStatus.COMMITTED}


@_SIMULATED
@given(pauses=st.lists(st.floats(12.5, 30.0), min_size=8, max_size=8))
def test_kills_that_leave_time_for_one_edit_each_never_end_one(
    new_history: Callable[[], History], pauses: list[float]
) -> None:
    """Batches of sixteen, whose solve is much longer than the time between two kills."""
    kills = [sum(pauses[: end + 1]) for end in range(len(pauses))]
    history = new_history()
    for number in range(_EDITS):
        history.accept(f"edit-{number}")
    machine = Machine(history, kills, solve_s=10.0)
    machine.run(sum(pauses) + _CALM_S)
    machine.end()
    assert _statuses(history) == {EditStatus.COMMITTED}
    assert EditStatus.DEAD not in _ever(history)


@_SIMULATED
@given(first=st.floats(1.5, 160.0), pauses=st.lists(st.floats(2.5, 12.0), min_size=2, max_size=2))
def test_a_kill_of_a_batch_is_no_attempt_of_any_edit(
    new_history: Callable[[], History], first: float, pauses: list[float]
) -> None:
    """Three kills, of which the first meets a batch: no edit has met three alone."""
    kills = [first, first + pauses[0], first + sum(pauses)]
    history = new_history()
    for number in range(_BATCH):
        history.accept(f"edit-{number}")
    machine = Machine(history, kills, solve_s=10.0)
    machine.run(kills[-1] + _CALM_S)
    machine.end()
    assert len(machine.deaths) == len(kills)
    assert _statuses(history) == {EditStatus.COMMITTED}
    assert EditStatus.DEAD not in _ever(history)


def test_an_edit_that_kills_is_given_up_alone_and_tried_ever_more_seldom(
    new_history: Callable[[], History],
) -> None:
    history = new_history()
    for number in range(_BATCH):
        history.accept(f"edit-{number}")
    machine = Machine(history, poison={"edit-3"})
    machine.run(10_000.0)
    machine.end()
    assert history.status("edit-3") is EditStatus.DEAD
    assert {history.status(f"edit-{n}") for n in range(_BATCH) if n != 3} == {EditStatus.COMMITTED}
    dead = _operation(history, "edit-3")
    assert dead.reason == "crashed"
    first, trials = machine.deaths[: 1 + 3], machine.deaths[1 + 3 :]
    assert first[-1] < 30.0
    assert dead.attempts == 3 + len(trials)
    lived = [after - before for before, after in pairwise([first[-1], *trials])]
    assert len(lived) > 5
    assert lived == sorted(lived)
    assert lived[-1] > 16 * lived[0]


def test_an_atomic_batch_is_given_up_and_tried_again_whole(
    new_history: Callable[[], History],
) -> None:
    history = new_history()
    ids = [f"edit-{number}" for number in range(4)]
    history.open_batch("batch", atomic=True)
    for id in ids:
        history.accept(id, batch_id="batch")
    machine = Machine(history, kills=[2.0, 4.0, 8.0], solve_s=5.0)
    machine.run(30.0)
    assert _statuses(history) == {EditStatus.DEAD}
    machine.run(_CALM_S)
    machine.end()
    assert _statuses(history) == {EditStatus.COMMITTED}
    assert len({_operation(history, id).revision for id in ids}) == 1


def test_what_was_stated_again_since_is_not_tried_again(
    new_history: Callable[[], History],
) -> None:
    history = new_history()
    history.accept("old", subject="France")
    machine = Machine(history, kills=[2.0, 4.0, 8.0], solve_s=5.0)
    machine.run(20.0)
    assert history.status("old") is EditStatus.DEAD
    history.accept("new", subject="France")
    machine.run(_CALM_S)
    machine.end()
    assert [history.status(id) for id in ("old", "new")] == [EditStatus.DEAD, EditStatus.COMMITTED]


def test_undoing_does_not_wait_for_the_pause_after_deaths(
    new_history: Callable[[], History],
) -> None:
    history = new_history()
    history.edit("live")
    for number in range(3):
        history.accept(f"edit-{number}")
    machine = Machine(history, kills=[2.0, 4.0, 7.0, 12.0], solve_s=10.0)
    machine.run(12.5)
    history.accept_rollback("stop", 0)
    assert [o.id for o in machine.claims.next(machine.lease)] == ["stop"]
    assert machine.claims.pause_s > 0
    machine.end()
