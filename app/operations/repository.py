"""Finding and storing operations. Every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from app.database.tables.edits import Edit, StoredText
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.errors import UnknownOperation
from app.operations import batches
from app.operations.queue_state import state
from editing_core.methods import method_named

# Literally what the index says, for a parameter would keep databases from using it.
_UNDOES = Operation.kind != literal_column("'edit'")
UNFINISHED = (OperationStatus.ACCEPTED, OperationStatus.RUNNING)


def get(session: Session, operation_id: str) -> Operation:
    """The operation with this id.

    Raises:
        UnknownOperation: There is none.
    """
    operation = session.get(Operation, operation_id)
    if operation is None:
        raise UnknownOperation(operation_id)
    return operation


def next_seq(session: Session) -> int:
    """The place after the last operation; gap-free, since writers are one after another."""
    return (session.scalar(select(func.max(Operation.seq))) or 0) + 1


def add(session: Session, operation: Operation) -> None:
    """Store a new operation; rows that refer to it may follow."""
    session.add(operation)
    session.flush()


def count_unfinished(session: Session) -> int:
    """How many operations are still to be executed."""
    query = select(func.count()).select_from(Operation).where(Operation.status.in_(UNFINISHED))
    return session.scalars(query).one()


def count_unfinished_of(session: Session, actor: str, kinds: Collection[OperationKind]) -> int:
    """How many operations of these kinds a caller asked for that are still to be executed."""
    query = select(func.count()).select_from(Operation)
    own = query.where(Operation.actor == actor, Operation.status.in_(UNFINISHED))
    return session.scalars(own.where(Operation.kind.in_(kinds))).one()


def waiting_of(session: Session, actor: str) -> Sequence[Operation]:
    """What a caller asked for and the worker has not begun, in order."""
    query = select(Operation).where(
        Operation.actor == actor, Operation.status == OperationStatus.ACCEPTED
    )
    return session.scalars(query.order_by(Operation.seq)).all()


def count_by_kind(session: Session, status: OperationStatus) -> dict[OperationKind, int]:
    """How many operations of each kind have a status; kinds without one are left out."""
    query = select(Operation.kind, func.count()).where(Operation.status == status)
    return dict(session.execute(query.group_by(Operation.kind)).all())


def ended(session: Session, ids: Collection[str]) -> Sequence[str]:
    """Those of these operations that are not to be executed any more."""
    query = select(Operation.id).where(Operation.id.in_(ids), Operation.status.not_in(UNFINISHED))
    return session.scalars(query).all()


def some(session: Session, ids: Collection[str]) -> Sequence[Operation]:
    """Those of these operations that there are, in order."""
    query = select(Operation).where(Operation.id.in_(ids))
    return session.scalars(query.order_by(Operation.seq)).all()


def running(session: Session) -> Sequence[Operation]:
    """What was claimed and has not ended, in order."""
    query = select(Operation).where(Operation.status == OperationStatus.RUNNING)
    return session.scalars(query.order_by(Operation.seq)).all()


def most_attempts_of_dead(session: Session, reason: str) -> int:
    """The most attempts of an edit that was given up for this reason; 0 without one."""
    query = select(func.max(Operation.attempts)).where(*_given_up(reason))
    return session.scalar(query) or 0


def to_try_again(session: Session, reason: str) -> Sequence[str]:
    """Edits given up for this reason whose fact no later edit states; least tried first."""
    text, later = aliased(StoredText), aliased(Operation)
    stated_again = (
        select(later.id)
        .join(text, text.edit_id == later.id)
        .where(
            text.fact_digest == StoredText.fact_digest,
            later.seq > Operation.seq,
            later.status.in_((*UNFINISHED, OperationStatus.COMMITTED)),
        )
    )
    query = (
        select(Operation.id)
        .join(StoredText, StoredText.edit_id == Operation.id)
        .where(*_given_up(reason), ~stated_again.exists())
        .order_by(Operation.attempts, Operation.seq)
    )
    return session.scalars(query).all()


def _given_up(reason: str) -> Sequence[ColumnElement[bool]]:
    """Those of this release: what an earlier one gave up was never split."""
    return (
        Operation.status == OperationStatus.DEAD,
        Operation.kind == OperationKind.EDIT,
        Operation.reason == reason,
        Operation.alone.is_(True),
    )


def next_undoing(session: Session) -> Operation | None:
    """The first revert or rollback that waits."""
    query = (
        select(Operation)
        .where(_UNDOES, Operation.status == OperationStatus.ACCEPTED)
        .order_by(Operation.seq)
        .limit(1)
    )
    return session.scalars(query).first()


def next_run(session: Session, limit: int, *, edits: bool = True) -> list[Operation]:
    """What the worker is to execute now, of what waits.

    The first revert or rollback comes before every edit, and alone: who asks for one wants harm to
    end. Then come edits, unless the queue is paused: up to `limit` together, in order, as long as
    they ask for the same method and no two state the same fact. An atomic batch comes whole,
    however large, and alone. A dry run comes alone, or with those of its batch; and what was in
    hand when an execution crashed comes alone.

    Args:
        session: A transaction.
        limit: Most edits of one run.
        edits: Whether edits may come at all.
    """
    undoing = next_undoing(session)
    if undoing is not None:
        return [undoing]
    if not edits or state(session).paused_at is not None:
        return []
    query = (
        select(Operation)
        .where(Operation.kind == OperationKind.EDIT, Operation.status == OperationStatus.ACCEPTED)
        .order_by(Operation.seq)
        .limit(max(limit, 1))
    )
    waiting = session.scalars(query).all()
    if not waiting:
        return []
    first = session.get_one(Edit, waiting[0].id)
    if batches.atomic_among(session, [first]):
        return [edit.operation for edit in batches.bound_together(session, first)]
    return list(waiting[: _solvable_together(session, waiting)])


def _solvable_together(session: Session, waiting: Sequence[Operation]) -> int:
    ids = [operation.id for operation in waiting]
    edits = {edit.id: edit for edit in session.scalars(select(Edit).where(Edit.id.in_(ids)))}
    atomic, first, facts = batches.atomic_among(session, edits.values()), edits[ids[0]], set[str]()
    if waiting[0].alone or not method_named(first.method).separable:
        return 1  # edits of such a method could not be undone one by one if they came together
    for position, operation in enumerate(waiting):
        edit = edits[operation.id]
        if operation.alone or edit.batch_id in atomic or not _may_join(edit, first):
            return position
        fact = edit.id if edit.text is None else edit.text.fact_digest
        if fact in facts:
            return position
        facts.add(fact)
    return len(waiting)


def _may_join(edit: Edit, first: Edit) -> bool:
    # What is tried beside another would be measured with it, though it will not come with it.
    alone = first.dry_run and first.batch_id is None
    tried_together = edit.dry_run == first.dry_run and (
        not first.dry_run or edit.batch_id == first.batch_id
    )
    return edit.method == first.method and (edit is first or (tried_together and not alone))
