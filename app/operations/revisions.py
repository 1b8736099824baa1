"""Finding and storing revisions. Every function works inside the caller's transaction."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database.tables.operations import Operation
from app.database.tables.revisions import Revision, RevisionChange
from app.errors import HeadMoved, InvalidField, NoRevisionYet, UnknownRevision
from app.facts.placements import Placement

_AT_ONCE = 1_000  # ids in one query: databases have a limit


def newest(session: Session) -> Revision | None:
    """The newest revision; None before the base was recorded."""
    return session.scalar(select(Revision).order_by(Revision.number.desc()).limit(1))


def require_head(session: Session, expected: int | None) -> None:
    """Make sure that the head is the one a client had seen, if it says which.

    Raises:
        HeadMoved: It is another one.
    """
    last = newest(session)
    if expected is not None and (last is None or last.number != expected):
        raise HeadMoved(expected, None if last is None else last.number)


def get(session: Session, number: int) -> Revision:
    """The revision with this number.

    Raises:
        UnknownRevision: There is none.
    """
    revision = session.get(Revision, number)
    if revision is None:
        raise UnknownRevision(number)
    return revision


def named(session: Session, field: str, number: int | None) -> Revision:
    """The revision that a field of a request names, or the head.

    Raises:
        NoRevisionYet: There is not even a base.
        InvalidField: There is no such revision.
    """
    last = newest(session)
    if last is None:
        raise NoRevisionYet
    if number is None:
        return last
    if number > last.number:
        raise InvalidField(field, f"no revision is numbered {number}; the newest is {last.number}")
    return get(session, number)


def artefacts(session: Session) -> set[str]:
    """Digests of every artefact that a revision needs."""
    named = select(RevisionChange.artefact).where(RevisionChange.artefact.is_not(None))
    digests = session.scalars(named.distinct())
    return {digest for digest in digests if digest is not None}


def page(session: Session, *, after: int | None, limit: int) -> Sequence[Revision]:
    """Up to `limit` revisions whose number is above `after`, oldest first."""
    query = select(Revision).order_by(Revision.number).limit(limit)
    if after is not None:
        query = query.where(Revision.number > after)
    return session.scalars(query).all()


def add(session: Session, revision: Revision) -> None:
    """Store a new revision; rows that refer to it may follow."""
    session.add(revision)
    session.flush()


def add_changes(
    session: Session,
    number: int,
    *,
    added: Iterable[Placement],
    removed: Iterable[str],
    replaced: Iterable[Placement] = (),
) -> None:
    """Store what a revision changed.

    Args:
        session: A write transaction.
        number: The revision.
        added: Edits that became live, with the factors they have.
        removed: Ids of edits that ceased to be live.
        replaced: Edits that stay live with other factors.
    """
    for change, placements in ((1, added), (0, replaced)):
        session.add_all(
            RevisionChange(
                revision=number,
                edit_id=placement.edit_id,
                change=change,
                artefact=placement.artefact,
                artefact_index=placement.row,
            )
            for placement in placements
        )
    session.add_all(RevisionChange(revision=number, edit_id=id, change=-1) for id in removed)
    session.flush()


def changes(session: Session, numbers: Sequence[int]) -> Sequence[RevisionChange]:
    """Every change these revisions made, edits in the order they were accepted."""
    query = (
        select(RevisionChange)
        .join(Operation, Operation.id == RevisionChange.edit_id)
        .where(RevisionChange.revision.in_(numbers))
        .order_by(RevisionChange.revision, Operation.seq)
    )
    return session.scalars(query).all()


def placements(session: Session, edit_ids: Collection[str]) -> dict[str, list[Placement]]:
    """Edit id → the factors that revisions gave it, one after another, the newest last."""
    ids, found = list(edit_ids), defaultdict[str, list[Placement]](list)
    for start in range(0, len(ids), _AT_ONCE):
        query = (
            select(RevisionChange.edit_id, RevisionChange.artefact, RevisionChange.artefact_index)
            .where(
                RevisionChange.edit_id.in_(ids[start : start + _AT_ONCE]),
                RevisionChange.change >= 0,
            )
            .order_by(RevisionChange.revision)
        )
        for id, artefact, row in session.execute(query):
            assert artefact is not None and row is not None  # noqa: S101, PT018
            found[id].append(Placement(id, artefact, row))
    return found


def history_of(
    session: Session, edit_ids: Collection[str]
) -> Iterator[dict[str, Placement | None]]:
    """Of each revision that changed one of some edits: edit id → its factors since, if any."""
    query = (
        select(
            RevisionChange.revision,
            RevisionChange.edit_id,
            RevisionChange.artefact,
            RevisionChange.artefact_index,
        )
        .where(RevisionChange.edit_id.in_(edit_ids))
        .order_by(RevisionChange.revision)
    )
    for _, rows in groupby(session.execute(query), key=itemgetter(0)):
        yield {
            id: None if artefact is None or row is None else Placement(id, artefact, row)
            for _, id, artefact, row in rows
        }
