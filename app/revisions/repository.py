"""Finding and storing revisions. Every function works inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, lazyload

from app.edits.models import Edit
from app.edits.text import EditText
from app.errors import HeadMoved, InvalidField, NoRevisionYet, UnknownRevision
from app.operations.models import Operation
from app.revisions.models import Revision, RevisionChange


@dataclass(frozen=True)
class LiveEdit:
    """An edit whose factors are part of a revision's weights.

    Attributes:
        edit_id: Its id.
        seq: Its place in the order of operations.
        artefact: Digest of the artefact with its factors.
        artefact_index: Which of that artefact's factor pairs are its own.
        text: Its words, unless they were erased.
    """

    edit_id: str
    seq: int
    artefact: str
    artefact_index: int
    text: EditText | None


def head(session: Session) -> Revision | None:
    """The newest revision; None before the base was recorded."""
    return session.scalar(select(Revision).order_by(Revision.number.desc()).limit(1))


def require_head(session: Session, expected: int | None) -> None:
    """Make sure that the head is the one a client had seen, if it says which.

    Raises:
        HeadMoved: It is another one.
    """
    newest = head(session)
    if expected is not None and (newest is None or newest.number != expected):
        raise HeadMoved(expected, None if newest is None else newest.number)


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
    newest = head(session)
    if newest is None:
        raise NoRevisionYet
    if number is None:
        return newest
    if number > newest.number:
        raise InvalidField(
            field, f"no revision is numbered {number}; the newest is {newest.number}"
        )
    return get(session, number)


def artefacts(session: Session) -> set[str]:
    """Digests of every artefact that a committed edit needs, live or not."""
    digests = session.scalars(select(Edit.artefact).where(Edit.artefact.is_not(None)).distinct())
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
    session: Session, number: int, *, added: Iterable[str], removed: Iterable[str]
) -> None:
    """Store which edits became live in a revision and which ceased to be."""
    for change, edit_ids in ((1, added), (-1, removed)):
        session.add_all(
            RevisionChange(revision=number, edit_id=edit_id, change=change) for edit_id in edit_ids
        )
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


def live_edits(session: Session, number: int, *, words: bool = True) -> list[LiveEdit]:
    """The edits a revision holds, in the order they were accepted.

    Args:
        session: A transaction.
        number: The revision.
        words: Whether their texts are wanted, too.

    Raises:
        UnknownRevision: There is no such revision.
    """
    get(session, number)
    live = (
        select(RevisionChange.edit_id)
        .where(RevisionChange.revision <= number)
        .group_by(RevisionChange.edit_id)
        .having(func.sum(RevisionChange.change) == 1)
    )
    query = select(Edit).where(Edit.id.in_(live))
    found = session.scalars(query if words else query.options(lazyload(Edit.text)))
    return _in_order(found, words=words)


def gained_edits(session: Session, number: int) -> list[LiveEdit]:
    """The edits that became live in a revision, in the order they were accepted."""
    return _in_order(session.scalars(select(Edit).where(Edit.id.in_(_changed(number, 1)))))


def lost_edits(session: Session, number: int) -> set[str]:
    """Ids of the edits that ceased to be live in a revision."""
    return set(session.scalars(_changed(number, -1)))


def _changed(number: int, change: int) -> Select[str]:
    return select(RevisionChange.edit_id).where(
        RevisionChange.revision == number, RevisionChange.change == change
    )


def _in_order(edits: Iterable[Edit], *, words: bool = True) -> list[LiveEdit]:
    return sorted((_live_edit(edit, words=words) for edit in edits), key=lambda edit: edit.seq)


def _live_edit(edit: Edit, *, words: bool) -> LiveEdit:
    assert edit.artefact is not None and edit.artefact_index is not None  # noqa: S101, PT018
    return LiveEdit(
        edit_id=edit.id,
        seq=edit.operation.seq,
        artefact=edit.artefact,
        artefact_index=edit.artefact_index,
        text=None if not words or edit.text is None else EditText.from_json(edit.text.content),
    )
