"""The life of an operation outside a revision: accepted, claimed, ended without one.

Every function works inside the caller's write transaction and writes the ledger entry that belongs
to the change. How an operation ends *with* a revision is in `app.operations.commit`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.edits import Edit, EditStatus
from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.reverts import Revert
from app.errors import WrongState
from app.kit.canonical import JsonObject
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.ledger import service as ledger
from app.operations import edits, events, repository

_log = get_logger(__name__)


def accept(
    session: Session,
    *,
    id: str,
    kind: OperationKind,
    details: JsonObject,
    actor: str,
    now: datetime,
    reason: str | None = None,
    to_revision: int | None = None,
    target_edit: str | None = None,
    if_head: int | None = None,
) -> Operation:
    """Give an operation the next place in the order, and write it to the ledger.

    Args:
        session: A write transaction.
        id: The new operation's id.
        kind: What it does.
        details: What the ledger says of it besides id, seq and kind.
        actor: Who asked for it.
        now: When.
        reason: Why, in the client's words; kept out of the ledger.
        to_revision: Where a rollback goes.
        target_edit: What a revert undoes.
        if_head: The head that it is executed on top of, if on no other.
    """
    seq = repository.next_seq(session)
    record: JsonObject = {"id": id, "seq": seq, "kind": kind.value, **details}
    if if_head is not None:
        record["if_head"] = if_head
    entry = ledger.append(session, EntryKind.OPERATION, record, actor=actor, now=now)
    operation = Operation(
        id=id,
        seq=seq,
        kind=kind,
        status=OperationStatus.ACCEPTED,
        created_at=now,
        actor=actor,
        ledger_index=entry.index,
        reason=reason,
        to_revision=to_revision,
        target_edit=target_edit,
        if_head=if_head,
    )
    repository.add(session, operation)
    _tell(session, operation, now)
    failpoint(Failpoint.ACCEPTING)
    return operation


def claim(session: Session, operations: Iterable[Operation], now: datetime) -> None:
    """Mark operations as running and count the attempt, until it proves to be none.

    Args:
        session: The write transaction that `next_run` read them in.
        operations: What the worker is about to execute.
        now: When it begins.
    """
    for operation in operations:
        operation.attempts += 1
        operation.started_at = now
        move(session, operation, OperationStatus.RUNNING, now)


def reject(
    session: Session,
    operation_id: str,
    reason: str,
    *,
    now: datetime,
    actor: str,
    report: JsonObject | None = None,
) -> None:
    """End a running operation that must not change anything, for the reason given as a code.

    Raises:
        WrongState: It is not running.
    """
    _end(session, operation_id, OperationStatus.REJECTED, reason, now=now, actor=actor)
    _keep(session, operation_id, report)


def give_up(session: Session, operation_id: str, reason: str, *, now: datetime, actor: str) -> None:
    """End a running operation that has failed too often; it may be queued again by hand.

    Raises:
        WrongState: It is not running.
    """
    _end(session, operation_id, OperationStatus.DEAD, reason, now=now, actor=actor)


def try_out(
    session: Session, operation_id: str, *, now: datetime, actor: str, report: JsonObject
) -> None:
    """End a running dry run that would have been committed.

    Raises:
        WrongState: It is not running.
    """
    _end(session, operation_id, OperationStatus.TRIED, "dry_run", now=now, actor=actor)
    _keep(session, operation_id, report)


def requeue(session: Session, operation_id: str, *, now: datetime, actor: str) -> None:
    """Give a dead operation a new place, at the end of the order, and new attempts.

    Its old place stays empty: what was accepted meanwhile has been executed before it.

    Raises:
        UnknownOperation: There is no such operation.
        WrongState: It is not dead.
    """
    operation = repository.get(session, operation_id)
    if operation.status is not OperationStatus.DEAD:
        raise WrongState(
            f"operation {operation_id!r} is {operation.status.value}; "
            "only one that is dead can be queued again"
        )
    operation.attempts = 0
    queue_again(session, operation, now=now, actor=actor)


def queue_again(session: Session, operation: Operation, *, now: datetime, actor: str) -> None:
    """Accept a dead operation once more, at the end of the order, with the attempts it had."""
    former, operation.seq = operation.seq, repository.next_seq(session)
    record: JsonObject = {
        "id": operation.id,
        "seq": operation.seq,
        "kind": operation.kind.value,
        "former_seq": former,
    }
    entry = ledger.append(session, EntryKind.OPERATION, record, actor=actor, now=now)
    operation.ledger_index = entry.index
    operation.reason = operation.started_at = operation.finished_at = None
    move(session, operation, OperationStatus.ACCEPTED, now)


def cancel(session: Session, operation_id: str, *, now: datetime, actor: str) -> None:
    """Cancel an operation the worker has not begun.

    Raises:
        UnknownOperation: There is no such operation.
        WrongState: It has begun or ended.
    """
    _end(session, operation_id, OperationStatus.CANCELLED, "cancelled", now=now, actor=actor)


def cancel_all_of(
    session: Session, asked_by: str, *, now: datetime, actor: str
) -> Sequence[Operation]:
    """Cancel all that one caller asked for and the worker has not begun; what it was."""
    waiting = repository.waiting_of(session, asked_by)
    cancel_some(session, waiting, now=now, actor=actor)
    return waiting


def cancel_some(
    session: Session, waiting: Sequence[Operation], *, now: datetime, actor: str
) -> None:
    """Cancel operations that the worker has not begun.

    Raises:
        WrongState: It has begun one.
    """
    edits.read_ahead(session, [operation.id for operation in waiting])
    _end_all(session, waiting, OperationStatus.CANCELLED, "cancelled", now=now, actor=actor)


def tell_cancelled(operations: Iterable[Operation]) -> None:
    """Have the log tell of operations that were cancelled, which is committed."""
    for operation in operations:
        _log.info(
            "operation_ended",
            operation_id=operation.id,
            kind=operation.kind.value,
            status=OperationStatus.CANCELLED.value,
        )


def move(session: Session, operation: Operation, status: OperationStatus, now: datetime) -> None:
    """Set the status of an operation and, for an edit, the one its client sees."""
    operation.status = status
    if operation.kind is OperationKind.EDIT:
        session.get_one(Edit, operation.id).status = EditStatus(status.value)
    _tell(session, operation, now)


def _tell(session: Session, operation: Operation, now: datetime) -> None:
    """Record the status that an operation has now for those who follow events."""
    status = operation.status
    events.record(
        session,
        operation.id,
        EditStatus(status.value),
        now=now,
        revision=operation.revision,
        # Before it ends, the reason of a revert or a rollback is in its client's words.
        reason=operation.reason if status in _BEFORE else None,
    )


def _keep(session: Session, operation_id: str, report: JsonObject | None) -> None:
    """Store what was measured with the edit, or with the revert."""
    measured = session.get(Edit, operation_id) or session.get(Revert, operation_id)
    if measured is not None:
        measured.report = report


_BEFORE = {
    OperationStatus.REJECTED: OperationStatus.RUNNING,
    OperationStatus.DEAD: OperationStatus.RUNNING,
    OperationStatus.CANCELLED: OperationStatus.ACCEPTED,
    OperationStatus.TRIED: OperationStatus.RUNNING,
}


def _end(
    session: Session,
    operation_id: str,
    status: OperationStatus,
    reason: str,
    *,
    now: datetime,
    actor: str,
) -> None:
    operation = repository.get(session, operation_id)
    _end_all(session, [operation], status, reason, now=now, actor=actor)


def _end_all(
    session: Session,
    operations: Sequence[Operation],
    status: OperationStatus,
    reason: str,
    *,
    now: datetime,
    actor: str,
) -> None:
    needed = _BEFORE[status]
    records: list[JsonObject] = []
    for operation in operations:
        if operation.status is not needed:
            raise WrongState(
                f"operation {operation.id!r} is {operation.status.value}; "
                f"only one that is {needed.value} can become {status.value}"
            )
        records.append(
            {
                "id": operation.id,
                "seq": operation.seq,
                "status": status.value,
                "reason": reason,
            }
        )
    entries = ledger.append_all(session, EntryKind.VERDICT, records, actor=actor, now=now)
    for operation, entry in zip(operations, entries, strict=True):
        operation.ledger_index = entry.index
        operation.reason = reason
        operation.finished_at = now
        move(session, operation, status, now)
