"""Operations whose execution ended without a verdict: set back, split, given up, tried again.

A process that dies, or code that fails, with a batch in hand says nothing of any one edit. So all
of them go back to the queue as they were, to be executed alone from then on, and an attempt counts
only for an operation that was alone. An atomic batch cannot be split: it is alone with itself,
counts its attempts as one, and is given up whole.

Every function works inside the caller's write transaction.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.edits import Edit
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.operations import edits, repository
from app.operations.batches import bound_together
from app.operations.lifecycle import give_up, move, queue_again

MOST_ATTEMPTS = 3  # executions of an operation, alone, that ended without a verdict
#: why an operation is given up with which processes died
CRASHED = "crashed"


def give_back(session: Session, operation_ids: Collection[str], now: datetime) -> None:
    """Return claimed operations that are not to be executed now: this was no attempt."""
    for operation in repository.some(session, operation_ids):
        if operation.status is OperationStatus.RUNNING:
            operation.attempts -= 1
            operation.started_at = None
            move(session, operation, OperationStatus.ACCEPTED, now)


def forgive(session: Session, operation_ids: Collection[str]) -> None:
    """Take back the attempt of a process that lost its lease, and lives.

    Who holds the lease now may have taken it for dead.
    """
    for operation in repository.some(session, operation_ids):
        if operation.status in repository.UNFINISHED:
            operation.attempts = max(0, operation.attempts - 1)


def recover(
    session: Session, crashed: Sequence[Operation], reason: str, *, now: datetime, actor: str
) -> list[Operation]:
    """Set back running operations whose execution crashed; those among them that were given up.

    Args:
        session: The write transaction of the lease's holder.
        crashed: All that were in hand.
        reason: Why, as a code, where one is given up.
        now: When.
        actor: Whom the ledger names.
    """
    edits.read_ahead(session, [operation.id for operation in crashed])
    was_alone = _is_alone(session, crashed)
    dead = [o for o in crashed if was_alone and o.attempts >= MOST_ATTEMPTS]
    for operation in crashed:
        operation.alone = True
        if operation in dead:
            give_up(session, operation.id, reason, now=now, actor=actor)
            continue
        if not was_alone:
            operation.attempts -= 1
        move(session, operation, OperationStatus.ACCEPTED, now)
    return dead


def lost_trials(session: Session) -> int:
    """How often at most one of the edits that are given up was tried again in vain."""
    most = repository.most_attempts_of_dead(session, CRASHED)
    return max(0, most - MOST_ATTEMPTS)


def try_again(session: Session, *, now: datetime, actor: str) -> Sequence[str]:
    """Queue an edit again that was given up after crashes, with its atomic batch; their ids.

    One whose fact was stated again since stays as it is: it would undo the newer statement. It has
    one attempt: its next crash ends it again.
    """
    candidates = repository.to_try_again(session, CRASHED)
    for id in candidates:
        together = bound_together(session, session.get_one(Edit, id))
        if {edit.id for edit in together} <= {*candidates}:
            for edit in together:
                queue_again(session, edit.operation, now=now, actor=actor)
            return [edit.id for edit in together]
    return []


def _is_alone(session: Session, operations: Sequence[Operation]) -> bool:
    if len(operations) < 2 or operations[0].kind is not OperationKind.EDIT:
        return True
    together = bound_together(session, session.get_one(Edit, operations[0].id))
    return {edit.id for edit in together} >= {operation.id for operation in operations}
