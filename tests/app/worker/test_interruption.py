"""What interrupts an edit that is being computed: a stop, a lost lease, an undoing, a pause."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.lease import WriterLease
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.kit.clock import utc_now
from app.operations import repository as operations
from app.operations import revisions
from app.operations.lifecycle import accept
from app.operations.queue_state import state
from app.worker.interruption import Interruption
from editing_core.model.loading import LoadedModel
from tests.support.waiting import wait_until
from tests.support.worker_service import WAIT_S, EditorFactory, Service, working


class Gate:
    """Between two steps of an edit: stays there until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        """Wait."""
        self.reached.set()
        self.open.wait(WAIT_S)


@dataclass(frozen=True)
class Computing:
    """A worker that is in the middle of an edit."""

    service: Service
    gate: Gate
    interruption: Interruption
    edit: str

    @property
    def operation(self) -> Operation:
        """The edit's operation as it is now."""
        with self.service.database.read() as session:
            return operations.get(session, self.edit)

    def interrupted(self) -> None:
        """Let the edit go on once somebody has asked it to end."""
        wait_until(lambda: self.interruption.is_asked, WAIT_S, what="the interruption")
        self.gate.open.set()


@pytest.fixture
def computing(
    tmp_path: Path, tiny_model: LoadedModel, editor_of: EditorFactory, one_thread: None
) -> Iterator[Computing]:
    del one_thread
    gate = Gate()
    interruption = Interruption(gate)
    editor = editor_of(interruption.step)
    with working(tmp_path, tiny_model, editor, interruption=interruption) as service:
        edit = service.submit("France")
        assert gate.reached.wait(WAIT_S)
        yield Computing(service, gate, interruption, edit)
        gate.open.set()


def _holder(database: Database) -> str | None:
    with database.read() as session:
        return session.get_one(WriterLease, 1).holder


def test_a_stop_throws_away_what_is_computed_and_is_no_attempt(computing: Computing) -> None:
    assert (computing.operation.status, computing.operation.attempts) == ("running", 1)
    stopping = threading.Thread(target=computing.service.worker.stop)
    stopping.start()
    computing.interrupted()
    stopping.join(WAIT_S)
    found = computing.operation
    assert (found.status, found.attempts) == (OperationStatus.ACCEPTED, 0)
    assert not found.alone
    assert _holder(computing.service.database) is None
    assert computing.service.head()[0] == 0


def test_a_stop_does_not_wait_for_a_step_that_takes_long(computing: Computing) -> None:
    computing.service.worker.stop(timeout_s=0.0)
    found = computing.operation
    assert (found.status, found.attempts) == (OperationStatus.ACCEPTED, 0)
    assert _holder(computing.service.database) is None
    computing.gate.open.set()
    assert computing.service.head()[0] == 0


def test_a_lost_lease_is_no_attempt(computing: Computing) -> None:
    with computing.service.database.write() as session:  # another process takes it, and dies
        session.get_one(WriterLease, 1).fence += 1
    computing.interrupted()
    ended = computing.service.ended(computing.edit)
    assert (ended.status, ended.operation.attempts) == (EditStatus.COMMITTED, 1)


def _roll_back(service: Service) -> str:
    with service.database.write() as session:
        return accept(
            session,
            id="rollback_1",
            kind=OperationKind.ROLLBACK,
            details={"to_revision": 0},
            actor="client",
            now=utc_now(),
            to_revision=0,
        ).id


def test_a_rollback_does_not_wait_for_the_edit_in_hand(computing: Computing) -> None:
    service = computing.service
    rollback = _roll_back(service)
    computing.interrupted()
    ended = service.ended(computing.edit)
    assert (ended.status, ended.operation.attempts) == (EditStatus.COMMITTED, 1)
    with service.database.read() as session:
        made = [revisions.get(session, number).operation for number in (1, 2)]
    assert made == [rollback, computing.edit]


def test_a_pause_sets_back_the_edit_in_hand_and_undoing_goes_on(computing: Computing) -> None:
    service = computing.service
    with service.database.write() as session:
        state(session).paused_at = utc_now()
    computing.interrupted()
    wait_until(lambda: computing.operation.status is OperationStatus.ACCEPTED, WAIT_S)
    assert computing.operation.attempts == 0
    rollback = _roll_back(service)
    service.doorbell.ring(rollback)
    wait_until(lambda: service.head()[0] == 1, WAIT_S, what="the rollback")
    assert computing.operation.status is OperationStatus.ACCEPTED
    with service.database.write() as session:
        state(session).paused_at = None
    service.doorbell.ring("queue")
    assert service.ended(computing.edit).status is EditStatus.COMMITTED
