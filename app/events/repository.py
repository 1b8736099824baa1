"""Recording and finding events. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.edits.models import Edit
from app.events.models import EditEvent


def record(
    session: Session,
    edit: Edit,
    *,
    now: datetime,
    revision: int | None = None,
    reason: str | None = None,
) -> None:
    """Note the status an edit has just been given."""
    session.add(
        EditEvent(edit_id=edit.id, status=edit.status, at=now, revision=revision, reason=reason)
    )


def newest(session: Session) -> int:
    """Number of the last event; 0 without any."""
    return session.scalar(select(func.max(EditEvent.number))) or 0


def after(
    session: Session, number: int, *, limit: int, edit_id: str | None = None
) -> Sequence[EditEvent]:
    """Up to `limit` events that came after a number, of one edit or of all, oldest first."""
    query = (
        select(EditEvent).where(EditEvent.number > number).order_by(EditEvent.number).limit(limit)
    )
    if edit_id is not None:
        query = query.where(EditEvent.edit_id == edit_id)
    return session.scalars(query).all()
