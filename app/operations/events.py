"""Recording and finding events. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.tables.edits import EditStatus
from app.database.tables.events import Event


def record(
    session: Session,
    operation_id: str,
    status: EditStatus,
    *,
    now: datetime,
    revision: int | None = None,
    reason: str | None = None,
) -> None:
    """Note the status that an operation, or its edit, has just been given."""
    session.add(
        Event(operation_id=operation_id, status=status, at=now, revision=revision, reason=reason)
    )


def newest(session: Session) -> int:
    """Number of the last event; 0 without any."""
    return session.scalar(select(func.max(Event.number))) or 0


def after(
    session: Session, number: int, *, limit: int, edit_id: str | None = None
) -> Sequence[Event]:
    """Up to `limit` events that came after a number, of one edit or of all, oldest first."""
    query = select(Event).where(Event.number > number).order_by(Event.number).limit(limit)
    if edit_id is not None:
        query = query.where(Event.operation_id == edit_id)
    return session.scalars(query).all()
