"""What the database knows of differences between revisions. Works in the caller's transaction."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from app.database.tables.edits import Edit, StoredText
from app.database.tables.revisions import Revision

T = TypeVar("T")

_AT_ONCE = 500  # ids in one statement, well below what SQLite and PostgreSQL take


def origins(session: Session, edit_ids: Sequence[str]) -> dict[str, str]:
    """Edit id → the first edit of its fact, down the chain of what superseded what."""
    found = dict[str, str]()
    for part in _parts(edit_ids):
        chain = (
            select(Edit.id.label("id"), Edit.id.label("link"), literal(0).label("depth"))
            .where(Edit.id.in_(part))
            .cte("chain", recursive=True)
        )
        chain = chain.union_all(
            select(chain.c.id, Edit.supersedes, chain.c.depth + 1)
            .join(Edit, Edit.id == chain.c.link)
            .where(Edit.supersedes.is_not(None))
        )
        rows = session.execute(select(chain.c.id, chain.c.link).order_by(chain.c.depth))
        found |= dict(rows.all())
    return found


def fact_digests(session: Session, edit_ids: Sequence[str]) -> dict[str, str]:
    """Edit id → digest of its fact, of those whose words were not erased."""
    found = dict[str, str]()
    for part in _parts(edit_ids):
        query = select(StoredText.edit_id, StoredText.fact_digest)
        rows = session.execute(query.where(StoredText.edit_id.in_(part)))
        found |= dict(rows.all())
    return found


def revisions(session: Session, *, first: int, last: int, limit: int) -> Sequence[Revision]:
    """Up to `limit` revisions from `first` to `last`, oldest first."""
    query = select(Revision).where(Revision.number.between(first, last))
    return session.scalars(query.order_by(Revision.number).limit(limit)).all()


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
