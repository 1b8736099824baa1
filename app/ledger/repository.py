"""Reading and appending ledger entries; nothing else touches their table."""

from collections.abc import Generator, Sequence

from sqlalchemy import LargeBinary, String, cast, func, select
from sqlalchemy.orm import Session

from app.ledger.chain import Link
from app.ledger.models import EntryKind, LedgerEntry
from app.operations.models import Operation
from app.revisions.models import Revision
from app.snapshots.models import Snapshot

_BATCH = 1_000


def last(session: Session) -> LedgerEntry | None:
    """The newest entry."""
    return session.scalar(select(LedgerEntry).order_by(LedgerEntry.index.desc()).limit(1))


def add(session: Session, link: Link) -> LedgerEntry:
    """Store one link; what refers to its index may follow in the same transaction."""
    entry = LedgerEntry(
        index=link.index,
        kind=EntryKind(link.kind),
        payload=link.payload,
        actor=link.actor,
        at=link.at,
        prev_hash=link.prev_hash,
        hash=link.hash,
    )
    session.add(entry)
    session.flush()
    return entry


def get(session: Session, index: int) -> LedgerEntry:
    """The entry with this index, which something else refers to."""
    return session.get_one(LedgerEntry, index)


def find(session: Session, index: int) -> LedgerEntry | None:
    """The entry with this index, if the ledger is that long."""
    return session.get(LedgerEntry, index)


def hashes(session: Session, indices: Sequence[int]) -> dict[int, str]:
    """The hash of each of these entries."""
    query = select(LedgerEntry.index, LedgerEntry.hash).where(LedgerEntry.index.in_(indices))
    return dict(session.execute(query).all())


def links(
    session: Session, *, after: int | None = None, limit: int | None = None
) -> Generator[Link]:
    """Entries exactly as stored, oldest first; survives text that is not even UTF-8.

    Args:
        session: A transaction that stays open while the entries are read.
        after: Only those whose index is above.
        limit: At most so many.
    """
    table = LedgerEntry.__table__.c
    texts = (table.kind, table.payload, table.actor, table.at, table.prev_hash, table.hash)
    # SQLite keeps any bytes in a text column, and its driver refuses to read such text.
    kept_as = LargeBinary if session.get_bind().dialect.name == "sqlite" else String
    query = select(table.index, *(cast(text, kept_as) for text in texts)).order_by(table.index)
    query = query.where(table.index > (-1 if after is None else after)).limit(limit)
    with session.execute(query, execution_options={"yield_per": _BATCH}) as rows:
        for index, *values in rows:
            yield Link(index, *(_as_text(value) for value in values))


def newest_reference(session: Session) -> int:
    """The highest index that an operation, revision or label refers to, or -1."""
    columns = (Operation.ledger_index, Revision.ledger_index, Snapshot.ledger_index)
    newest = [session.scalar(select(func.max(column))) for column in columns]
    return max(-1 if index is None else index for index in newest)


def _as_text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")
