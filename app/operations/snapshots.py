"""Finding and storing snapshots. Every function works inside the caller's transaction."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import and_, delete, select, update
from sqlalchemy.orm import Session

from app.database.tables.labels import Snapshot
from app.database.tables.revisions import Revision, RevisionChange
from app.errors import UnknownLabel
from app.facts.placements import Placement
from app.facts.spans import Span
from app.operations.withdrawals import among

# A change is read some hundred times faster than a factor, even a small one, from its file.
_CHANGES_A_FACTOR = 64


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


def near(session: Session, files: Mapping[int, str], wanted: Revision, most: int) -> dict[int, str]:
    """The files of revisions that may be `most` sets of factors from a revision, or fewer.

    As many are at least between two revisions as one has more live edits than the other. Where far
    more revisions than that lie between, the changes would take longer to read than a detour.
    """
    query = select(Revision.number, Revision.live_edits).where(Revision.number.in_(files))
    return {
        number: files[number]
        for number, live in session.execute(query)
        if abs(live - wanted.live_edits) <= most
        and abs(number - wanted.number) <= _CHANGES_A_FACTOR * most
    }


def distances(session: Session, number: int, at: Collection[int]) -> dict[int, int]:
    """How many sets of factors each revision of `at` has too many or too few, against another.

    Read are only the changes of edits that were changed between them.
    """
    if not at:
        return {}
    low, high = min(number, *at), max(number, *at)
    between = and_(RevisionChange.revision > low, RevisionChange.revision <= high)
    query = (
        select(
            RevisionChange.revision,
            RevisionChange.edit_id,
            RevisionChange.artefact,
            RevisionChange.artefact_index,
        )
        .where(
            RevisionChange.edit_id.in_(select(RevisionChange.edit_id).where(between)),
            RevisionChange.revision <= high,
        )
        .order_by(RevisionChange.revision)
    )
    changes = [
        (revision, id, None if artefact is None or row is None else Placement(id, artefact, row))
        for revision, id, artefact, row in session.execute(query)
    ]
    live = {id: place for revision, id, place in changes if revision <= number}
    return _distances(changes, live, at)


def _distances(
    changes: Iterable[tuple[int, str, Placement | None]],
    live: Mapping[str, Placement | None],
    at: Collection[int],
) -> dict[int, int]:
    """Follow changes, oldest first, and count at these revisions what differs from `live`."""
    waiting, held = deque(changes), dict[str, Placement | None]()
    distance, found = sum(_apart(None, place) for place in live.values()), dict[int, int]()
    for number in sorted(at):
        while waiting and waiting[0][0] <= number:
            _, id, place = waiting.popleft()
            distance -= _apart(held.get(id), live.get(id))
            held[id] = place
            distance += _apart(place, live.get(id))
        found[number] = distance
    return found


def _apart(one: Placement | None, other: Placement | None) -> int:
    """How many sets of factors lead from one to the other."""
    return 0 if one == other else sum(found is not None for found in (one, other))
