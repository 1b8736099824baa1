"""The queue's state. Every function works inside the caller's transaction."""

from sqlalchemy.orm import Session

from app.database.tables.queue_state import QueueState

_ROW = 1


def state(session: Session) -> QueueState:
    """The one row."""
    return session.get_one(QueueState, _ROW)
