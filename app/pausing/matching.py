"""Edits that wait and match what an operator names. Works inside the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.database.tables.edits import Edit, StoredText
from app.database.tables.operations import Operation, OperationStatus
from app.facts.text import EditText, subject_digest
from app.pausing.schemas import CancelRequest

_HELD = 20  # edits, each with its texts


def matching(session: Session, wanted: CancelRequest) -> list[str]:
    """Ids of the edits that wait and match, in order."""
    query = _matching(wanted)
    if not wanted.metadata:
        return list(session.scalars(query))
    # Labels may hold any character, which no way into JSON of all databases allows.
    texts = query.join(StoredText, StoredText.edit_id == Edit.id, isouter=True).add_columns(
        StoredText.content
    )
    labels = wanted.metadata.items()
    return [
        id
        for id, content in session.execute(texts.execution_options(yield_per=_HELD))
        if content is not None and labels <= EditText.from_json(content).metadata.items()
    ]


def waiting(session: Session, ids: Sequence[str]) -> Sequence[Edit]:
    """Those of these edits that the worker has not begun, in order."""
    query = (
        select(Edit)
        .join(Operation, Operation.id == Edit.id)
        .where(Edit.id.in_(ids), Operation.status == OperationStatus.ACCEPTED)
        .order_by(Operation.seq)
    )
    return session.scalars(query).all()


def _matching(wanted: CancelRequest) -> Select[str]:
    query = (
        select(Edit.id)
        .join(Operation, Operation.id == Edit.id)
        .where(Operation.status == OperationStatus.ACCEPTED)
        .order_by(Operation.seq)
    )
    if wanted.actor is not None:
        query = query.where(Operation.actor == wanted.actor)
    if wanted.batch is not None:
        query = query.where(Edit.batch_id == wanted.batch)
    if wanted.method is not None:
        query = query.where(Edit.method == wanted.method)
    if wanted.created_after is not None:
        query = query.where(Operation.created_at > wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(Operation.created_at < wanted.created_before)
    if wanted.subject is not None:
        of_subject = select(StoredText.edit_id).where(
            StoredText.subject_digest == subject_digest(wanted.subject)
        )
        query = query.where(Edit.id.in_(of_subject))
    return query
