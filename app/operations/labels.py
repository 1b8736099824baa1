"""Labels and the worker's own snapshots, as rows and ledger entries; knows no files.

A label is something a person relies on, so giving and removing one is in the ledger. What the
worker takes by itself is a cache that follows from the ledger, which need not tell of it.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.labels import Snapshot
from app.database.tables.ledger import EntryKind
from app.errors import LabelTaken
from app.ledger import service as ledger
from app.operations import snapshots as repository
from app.operations.withdrawals import require_served


def find_label(session: Session, revision: int, label: str) -> Snapshot | None:
    """The snapshot that has this label already.

    Raises:
        LabelTaken: It is on another revision.
    """
    found = repository.find(session, label)
    if found is not None and found.revision != revision:
        raise LabelTaken(label, found.revision)
    return found


def add_label(
    session: Session, revision: int, label: str, digest: str, *, actor: str, now: datetime
) -> Snapshot:
    """Give a stored revision a label; the same again only tells where its file is.

    Raises:
        LabelTaken: The label is on another revision.
        RevisionWithdrawn: The revision was withdrawn.
    """
    require_served(session, revision)
    found = find_label(session, revision, label)
    if found is not None:
        found.digest = digest
        return found
    entry = ledger.append(
        session,
        EntryKind.SNAPSHOT,
        {"label": label, "revision": revision, "digest": digest},
        actor=actor,
        now=now,
    )
    snapshot = Snapshot(
        revision=revision,
        label=label,
        digest=digest,
        created_at=now,
        automatic=False,
        ledger_index=entry.index,
    )
    repository.add(session, snapshot)
    return snapshot


def remove_label(session: Session, label: str, *, actor: str, now: datetime) -> None:
    """Take a label away, so that it may be given to another revision.

    Raises:
        UnknownLabel: No snapshot has it.
    """
    snapshot = repository.get(session, label)
    ledger.append(
        session,
        EntryKind.SNAPSHOT,
        {"label": label, "revision": snapshot.revision, "removed": True},
        actor=actor,
        now=now,
    )
    repository.remove(session, [snapshot])


def add_automatic(
    session: Session, revision: int, digest: str, *, kept: int, now: datetime
) -> set[str]:
    """Note a snapshot the worker took, and drop its own but the newest `kept`.

    Returns:
        Digests of the files that no snapshot refers to any more.
    """
    dropped = repository.automatic(session)[kept - 1 :]
    repository.remove(session, dropped)
    snapshot = Snapshot(
        revision=revision,
        label=None,
        digest=digest,
        created_at=now,
        automatic=True,
        ledger_index=None,
    )
    repository.add(session, snapshot)
    digests = {found.digest for found in dropped if found.digest is not None}
    return digests - repository.claimed(session)
