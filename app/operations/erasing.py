"""Removing the words of operations, and saying so in the ledger."""

from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.errors import WrongState
from app.ledger import service as ledger
from app.operations import erasures as repository
from app.operations import idempotency_keys as idempotency
from app.operations import repository as operations

# An operation that ended otherwise has a code for a reason.
_HAVE_A_CLIENTS_REASON = (
    OperationStatus.ACCEPTED,
    OperationStatus.RUNNING,
    OperationStatus.COMMITTED,
)


def record(session: Session, operation: Operation, *, actor: str, now: datetime) -> None:
    """Note that this transaction removes the words of an operation."""
    entry = ledger.append(session, EntryKind.ERASURE, {"id": operation.id}, actor=actor, now=now)
    operation.ledger_index = entry.index
    repository.add(session, operation.id, now)


def erase_reason(session: Session, operation_id: str, *, actor: str, now: datetime) -> None:
    """Remove what a client gave as the reason of a revert or a rollback; again changes nothing.

    Raises:
        UnknownOperation: There is no such operation.
        WrongState: It is an edit, of which more has to be erased.
    """
    operation = operations.get(session, operation_id)
    if operation.kind is OperationKind.EDIT:
        raise WrongState(
            f"operation {operation_id!r} is an edit; erase it by "
            f"POST /v1/edits/{operation_id}/erase"
        )
    if operation.erasure is not None:
        return
    if operation.status in _HAVE_A_CLIENTS_REASON:
        operation.reason = None
    idempotency.forget(session, {operation_id})
    record(session, operation, actor=actor, now=now)
