"""Finding and storing batches. Every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import ScalarResult, Select, select
from sqlalchemy.orm import Session, selectinload

from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit
from app.database.tables.operations import Operation
from app.errors import UnknownBatch

_HELD = 20  # edits, each with its texts and its report


def get(session: Session, batch_id: str) -> EditBatch:
    """The batch with this id.

    Raises:
        UnknownBatch: There is none.
    """
    batch = session.get(EditBatch, batch_id)
    if batch is None:
        raise UnknownBatch(batch_id)
    return batch


def add(session: Session, batch: EditBatch) -> None:
    """Store a new batch; its edits may follow."""
    session.add(batch)
    session.flush()


def edits_of(session: Session, batch_id: str) -> Sequence[Edit]:
    """The edits of a batch, in the order they are executed."""
    return session.scalars(_in_order(batch_id)).all()


def following(session: Session, batch_id: str, *, after: int) -> ScalarResult[Edit]:
    """Those of them whose `seq` is above `after`, few in memory at a time; to be closed."""
    query = _in_order(batch_id).where(Operation.seq > after)
    return session.scalars(query.execution_options(yield_per=_HELD))


def atomic_among(session: Session, edits: Collection[Edit]) -> set[str]:
    """Ids of the atomic batches that these edits belong to."""
    ids = {edit.batch_id for edit in edits if edit.batch_id is not None}
    query = select(EditBatch.id).where(EditBatch.id.in_(ids), EditBatch.atomic)
    return set(session.scalars(query))


def bound_together(session: Session, edit: Edit) -> Sequence[Edit]:
    """The edit and those that share its fate: all of an atomic batch, in order."""
    if edit.batch_id is None or not atomic_among(session, [edit]):
        return [edit]
    return edits_of(session, edit.batch_id)


def _in_order(batch_id: str) -> Select[Edit]:
    return (
        select(Edit)
        .join(Operation, Operation.id == Edit.id)
        .where(Edit.batch_id == batch_id)
        .order_by(Operation.seq)
        .options(selectinload(Edit.withdrawals))
    )
