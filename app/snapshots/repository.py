"""Finding and storing snapshots. Every function works inside the caller's transaction."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.errors import UnknownLabel
from app.revisions.models import RevisionChange
from app.revisions.placements import Placement
from app.snapshots.models import Snapshot
from app.withdrawals.repository import among
from app.withdrawals.spans import Span


def page(session: Session, *, after: int | None, limit: int) -> Sequence[Snapshot]:
    """Up to `limit` snapshots taken after the one with this id, oldest first."""
    query = select(Snapshot).order_by(Snapshot.id).limit(limit)
    if after is not None:
        query = query.where(Snapshot.id > after)
    return session.scalars(query).all()


def find(session: Session, label: str) -> Snapshot | None:
    """The snapshot with this label."""
    return session.scalar(select(Snapshot).where(Snapshot.label == label))


def get(session: Session, label: str) -> Snapshot:
    """The snapshot with this label.

    Raises:
        UnknownLabel: There is none.
    """
    snapshot = find(session, label)
    if snapshot is None:
        raise UnknownLabel(label)
    return snapshot


def numbered(session: Session, id: int, label: str) -> Snapshot:
    """The snapshot that was given this label, by its number.

    Raises:
        UnknownLabel: The label was removed since.
    """
    snapshot = session.get(Snapshot, id)
    if snapshot is None:
        raise UnknownLabel(label)
    return snapshot


def add(session: Session, snapshot: Snapshot) -> None:
    """Store a new snapshot."""
    session.add(snapshot)
    session.flush()


def remove(session: Session, snapshots: Collection[Snapshot]) -> None:
    """Remove snapshots; their files stay until nobody claims them."""
    for snapshot in snapshots:
        session.delete(snapshot)
    session.flush()


def automatic(session: Session) -> Sequence[Snapshot]:
    """The worker's own snapshots, newest revision first."""
    query = select(Snapshot).where(Snapshot.automatic).order_by(Snapshot.revision.desc())
    return session.scalars(query).all()


def claimed(session: Session) -> set[str]:
    """Digests of all files that a snapshot refers to."""
    query = select(Snapshot.digest).distinct().where(Snapshot.digest.is_not(None))
    return {digest for digest in session.scalars(query) if digest is not None}


def labelled(session: Session) -> dict[str, str | None]:
    """Label → digest of its file, None where that was lost."""
    query = select(Snapshot.label, Snapshot.digest).where(Snapshot.label.is_not(None))
    return {label: digest for label, digest in session.execute(query) if label is not None}


def files(session: Session) -> dict[int, str]:
    """Revision → digest of its file, of every revision that has one."""
    query = select(Snapshot.revision, Snapshot.digest).where(Snapshot.digest.is_not(None))
    return {number: digest for number, digest in session.execute(query) if digest is not None}


def forget(session: Session, digests: Collection[str]) -> None:
    """Claim these files no longer: labels stay, the worker's own snapshots go."""
    session.execute(delete(Snapshot).where(Snapshot.automatic, Snapshot.digest.in_(digests)))
    session.execute(update(Snapshot).where(Snapshot.digest.in_(digests)).values(digest=None))


def forget_revisions(session: Session, spans: Sequence[Span]) -> list[str]:
    """Claim no file of these revisions any longer; digests of the files that are to go.

    Equal weights share a file, and whatever has the weights of a withdrawn revision holds its edits
    and is withdrawn as well.
    """
    query = select(Snapshot.digest).distinct()
    query = query.where(among(Snapshot.revision, spans), Snapshot.digest.is_not(None))
    digests = [digest for digest in session.scalars(query) if digest is not None]
    forget(session, digests)
    return digests


def distances(
    session: Session, live: Mapping[str, Placement], at: Collection[int]
) -> dict[int, int]:
    """How many sets of factors each revision of `at` has too many or too few, against `live`."""
    query = (
        select(
            RevisionChange.revision,
            RevisionChange.edit_id,
            RevisionChange.artefact,
            RevisionChange.artefact_index,
        )
        .where(RevisionChange.revision <= max(at, default=-1))
        .order_by(RevisionChange.revision)
    )
    changes, distance, found = deque(session.execute(query).all()), len(live), dict[int, int]()
    held = dict[str, Placement]()
    for number in sorted(at):
        while changes and changes[0].revision <= number:
            _, id, artefact, row = changes.popleft()
            distance -= _apart(held.pop(id, None), live.get(id))
            if artefact is not None and row is not None:
                held[id] = Placement(id, artefact, row)
            distance += _apart(held.get(id), live.get(id))
        found[number] = distance
    return found


def _apart(one: Placement | None, other: Placement | None) -> int:
    """How many sets of factors lead from one to the other."""
    return 0 if one == other else sum(found is not None for found in (one, other))
