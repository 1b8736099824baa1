"""Reading and appending ledger entries; nothing else touches their table."""

from collections.abc import Collection, Generator, Sequence
from typing import Any

from sqlalchemy import LargeBinary, Row, Select, String, cast, func, select, text
from sqlalchemy.orm import Session

from app.database.tables.api_keys import ApiKey
from app.database.tables.exports import Export
from app.database.tables.labels import Snapshot
from app.database.tables.ledger import EntryKind, LedgerEntry
from app.database.tables.operations import Operation
from app.database.tables.revisions import Revision
from app.database.tables.withdrawals import Withdrawal
from app.kit.canonical import JsonObject, canonical
from app.ledger.chain import Link

_BATCH = 100
# Said as the partial index says it: a bound value would not let a planner use the index.
_ABOUT_KEYS = text("kind = 'key'")
_APPENDED = "ledger_entries_appended"


def last(session: Session) -> LedgerEntry | None:
    """The newest entry."""
    return session.scalar(select(LedgerEntry).order_by(LedgerEntry.index.desc()).limit(1))


def add_all(session: Session, links: Sequence[Link]) -> list[LedgerEntry]:
    """Store links; what refers to their indices may follow in the same transaction."""
    entries = [
        LedgerEntry(
            index=link.index,
            kind=EntryKind(link.kind),
            payload=link.payload,
            actor=link.actor,
            at=link.at,
            prev_hash=link.prev_hash,
            hash=link.hash,
        )
        for link in links
    ]
    session.add_all(entries)
    session.flush()
    session.info.setdefault(_APPENDED, []).extend(links)
    return entries


def appended(session: Session) -> Sequence[Link]:
    """The entries that this transaction adds, oldest first."""
    found: list[Link] = session.info.get(_APPENDED, [])
    return found


def get(session: Session, index: int) -> LedgerEntry:
    """The entry with this index, which something else refers to."""
    return session.get_one(LedgerEntry, index)


def find(session: Session, index: int) -> LedgerEntry | None:
    """The entry with this index, if the ledger is that long."""
    return session.get(LedgerEntry, index)


def says_of_key(session: Session, payload: JsonObject) -> bool:
    """Whether an entry about an API key has exactly this payload; the same cost in any ledger."""
    query = select(LedgerEntry.index).where(_ABOUT_KEYS, LedgerEntry.payload == canonical(payload))
    return session.scalar(query.limit(1)) is not None


def any_of_keys(session: Session) -> bool:
    """Whether there is an entry about an API key."""
    return session.scalar(select(LedgerEntry.index).where(_ABOUT_KEYS).limit(1)) is not None


def hash_at(session: Session, index: int) -> str | None:
    """The hash of the entry with this index, if the ledger is that long."""
    table = LedgerEntry.__table__.c
    query: Select[Any] = select(cast(table.hash, _kept_as(session))).where(table.index == index)
    found: bytes | str | None = session.scalar(query)
    return None if found is None else _as_text(found)


def of_kind(session: Session, kind: EntryKind) -> Sequence[LedgerEntry]:
    """Every entry of a kind, oldest first; for kinds that are rare."""
    query = select(LedgerEntry).where(LedgerEntry.kind == kind).order_by(LedgerEntry.index)
    return session.scalars(query).all()


def has(session: Session, kind: EntryKind, payload: str, after: int) -> bool:
    """Whether an entry above an index is of this kind and says this."""
    query = select(LedgerEntry.index).where(
        LedgerEntry.index > after, LedgerEntry.kind == kind, LedgerEntry.payload == payload
    )
    return session.scalar(query.limit(1)) is not None


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
    index = LedgerEntry.__table__.c.index
    query = _as_stored(session).where(index > (-1 if after is None else after))
    query = query.order_by(index).limit(limit)
    with session.execute(query, execution_options={"yield_per": _BATCH}) as rows:
        for row in rows:
            yield _link(row)


def links_at(session: Session, indices: Collection[int]) -> dict[int, Link]:
    """The entries with these indices exactly as stored, those that there are."""
    index = LedgerEntry.__table__.c.index
    query = _as_stored(session).where(index.in_(indices))
    return {row[0]: _link(row) for row in session.execute(query)}


def ends(session: Session) -> tuple[Link, Link] | None:
    """The first and the last entry exactly as stored; None without any."""
    index = LedgerEntry.__table__.c.index
    query = _as_stored(session).limit(1)
    first = session.execute(query.order_by(index)).first()
    last = session.execute(query.order_by(index.desc())).first()
    return None if first is None or last is None else (_link(first), _link(last))


def size(session: Session) -> int:
    """How many entries there are, counted by the index of the last."""
    newest = session.scalar(select(func.max(LedgerEntry.index)))
    return 0 if newest is None else newest + 1


def newest_reference(session: Session) -> int:
    """The highest index that a row of another table names, or -1."""
    columns = (
        Operation.ledger_index,
        Revision.ledger_index,
        Snapshot.ledger_index,
        ApiKey.ledger_index,
        ApiKey.revocation_index,
        Export.ledger_index,
        Withdrawal.ledger_index,
    )
    newest = [session.scalar(select(func.max(column))) for column in columns]
    return max(-1 if index is None else index for index in newest)


def _as_stored(session: Session) -> Select[Any]:
    table = LedgerEntry.__table__.c
    texts = (table.kind, table.payload, table.actor, table.at, table.prev_hash, table.hash)
    kept_as = _kept_as(session)
    return select(table.index, *(cast(text, kept_as) for text in texts))


def _kept_as(session: Session) -> type[LargeBinary | String]:
    # SQLite keeps any bytes in a text column, and its driver refuses to read such text.
    return LargeBinary if session.get_bind().dialect.name == "sqlite" else String


def _link(row: Row[Any]) -> Link:
    values: tuple[Any, ...] = tuple(row)
    return Link(values[0], *(_as_text(value) for value in values[1:]))


def _as_text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")
