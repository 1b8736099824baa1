"""What the rest of the service asks of the ledger: append a record, check it, hand it over."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from threading import Event

from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.tables.ledger import EntryKind, LedgerEntry
from app.errors import ClientGone, NoEntryYet
from app.kit.canonical import JsonObject
from app.kit.clock import rfc3339
from app.kit.paging import fitting
from app.ledger import repository
from app.ledger.chain import GENESIS, Link, link
from app.ledger.checkpoint import Checkpoint, sign
from app.ledger.containment import require_contained
from app.ledger.mark import Mark, Marks
from app.ledger.schemas import EntryResource
from app.ledger.signing import SigningKey

_PAGE = 200


def append(
    session: Session, kind: EntryKind, payload: JsonObject, *, actor: str, now: datetime
) -> LedgerEntry:
    """Add one record to the end of the chain, inside the caller's write transaction.

    Raises:
        TypeError: The payload holds a float; write it as a string.
    """
    (entry,) = append_all(session, kind, [payload], actor=actor, now=now)
    return entry


def append_all(
    session: Session,
    kind: EntryKind,
    payloads: Sequence[JsonObject],
    *,
    actor: str,
    now: datetime,
) -> list[LedgerEntry]:
    """Add records of one kind to the end of the chain, one after another.

    Raises:
        TypeError: A payload holds a float; write it as a string.
    """
    newest = repository.last(session)
    index = 0 if newest is None else newest.index + 1
    prev_hash = GENESIS if newest is None else newest.hash
    links = list[Link]()
    for payload in payloads:
        links.append(
            link(
                index=index + len(links),
                kind=kind.value,
                payload=payload,
                actor=actor,
                at=rfc3339(now),
                prev_hash=links[-1].hash if links else prev_hash,
            )
        )
    return repository.add_all(session, links)


def entries(
    database: Database, *, size: int | None = None, stop: Event | None = None
) -> Iterator[Link]:
    """The first `size` entries, or all there are now, oldest first, for however long it takes.

    No transaction is kept open meanwhile: entries that are there never change.

    Raises:
        ClientGone: It was told to stop.
    """
    for page in pages(database, size=size):
        if stop is not None and stop.is_set():
            raise ClientGone
        yield from page


def pages(database: Database, *, size: int | None = None) -> Iterator[list[Link]]:
    """The same in pages of few bytes, each read in a transaction of its own."""
    after = -1
    while size is None or after + 1 < size:
        limit = _PAGE if size is None else min(_PAGE, size - after - 1)
        with (
            database.read() as session,
            closing(repository.links(session, after=after, limit=limit)) as links,
        ):
            page, is_cut = fitting(links, lambda link: len(link.payload))
        yield page
        if len(page) < limit and not is_cut:
            return
        after = page[-1].index


def checkpoint(database: Database, marks: Marks, key: SigningKey, now: datetime) -> Checkpoint:
    """The head of the chain, signed; from then on the mark is not before it.

    Raises:
        NoEntryYet: The ledger is empty.
        CorruptLedger: Its ends were altered so that they cannot be signed.
        SetBack: It lacks what was committed here.
    """
    with database.read() as session:
        known, ends = marks.newest(), repository.ends(session)
        require_contained(session, known)
    if ends is None:
        raise NoEntryYet
    signed = sign(*ends, key, now)
    marks.move(Mark(signed.size, signed.hash, signed.origin), durably=True)
    return signed


def export(database: Database) -> Iterator[str]:
    """Every entry as a line of JSON, as the API shows it, some lines at a time."""
    for page in pages(database):
        yield "".join(EntryResource.of(entry).to_line() for entry in page)
