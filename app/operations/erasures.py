"""Finding and storing erasures. Every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.database.purging import mark
from app.database.tables.erasures import Erasure


def find(session: Session, operation_id: str) -> Erasure | None:
    """What was erased of an operation, if anything was."""
    return session.get(Erasure, operation_id)


def add(session: Session, operation_id: str, now: datetime) -> None:
    """Note that this transaction removes the words of an operation."""
    session.add(Erasure(operation_id=operation_id, begun_at=now, mark=mark(session)))
    session.flush()


def pending(session: Session) -> Sequence[Erasure]:
    """Those whose words may still be in the files."""
    return session.scalars(select(Erasure).where(Erasure.done_at.is_(None))).all()


def count_pending(session: Session) -> int:
    """How many there are of them."""
    query = select(func.count()).select_from(Erasure).where(Erasure.done_at.is_(None))
    return session.scalars(query).one()


def finish(session: Session, operation_ids: Collection[str], now: datetime) -> None:
    """Note that the words of these have left the files."""
    wanted = Erasure.operation_id.in_(operation_ids)
    session.execute(update(Erasure).where(wanted).values(done_at=now))
