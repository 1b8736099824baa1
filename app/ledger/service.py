"""What the rest of the service asks of the ledger: append a record, check the chain."""

from contextlib import closing
from datetime import datetime

from sqlalchemy.orm import Session

from app.clock import rfc3339
from app.database.base import JsonObject
from app.ledger import repository
from app.ledger.chain import GENESIS, Verdict, link, verify
from app.ledger.models import EntryKind, LedgerEntry


def append(
    session: Session, kind: EntryKind, payload: JsonObject, *, actor: str, now: datetime
) -> LedgerEntry:
    """Add one record to the end of the chain, inside the caller's write transaction.

    Raises:
        TypeError: The payload holds a float; write it as a string.
    """
    newest = repository.last(session)
    return repository.add(
        session,
        link(
            index=0 if newest is None else newest.index + 1,
            kind=kind.value,
            payload=payload,
            actor=actor,
            at=rfc3339(now),
            prev_hash=GENESIS if newest is None else newest.hash,
        ),
    )


def check(session: Session) -> Verdict:
    """Verify the chain from its first entry, and that its end is not cut off.

    A chain that was cut after its last few entries still holds in itself; operations, revisions
    and labels that refer beyond its end give it away.
    """
    with closing(repository.links(session)) as links:  # verify stops at the first bad entry
        verdict = verify(links)
    if verdict.ok and repository.newest_reference(session) >= verdict.entries:
        return Verdict(verdict.entries, verdict.head_hash, first_bad=verdict.entries)
    return verdict
