"""Finding and storing reverts. Every function works inside the caller's transaction."""

from sqlalchemy.orm import Session

from app.database.tables.reverts import Revert
from app.errors import UnknownOperation


def get(session: Session, operation_id: str) -> Revert:
    """How a revert was asked for.

    Raises:
        UnknownOperation: There is no such revert.
    """
    revert = session.get(Revert, operation_id)
    if revert is None:
        raise UnknownOperation(operation_id)
    return revert


def add(session: Session, revert: Revert) -> None:
    """Store a new revert; its operation is there already."""
    session.add(revert)
    session.flush()
