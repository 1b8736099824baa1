"""Which edits are live in a revision, and what leads from one revision to another.

The newest change of an edit up to a revision says whether it is live there, and with which factors.
Every function works inside the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, null, select
from sqlalchemy.orm import Session

from app.database.tables.edits import StoredText
from app.database.tables.operations import Operation
from app.database.tables.revisions import RevisionChange
from app.facts.placements import Placement
from app.facts.text import EditText
from app.operations.revisions import get


@dataclass(frozen=True)
class LiveEdit:
    """An edit whose factors are part of a revision's weights.

    Attributes:
        edit_id: Its id.
        seq: Its place in the order of operations.
        artefact: Digest of the artefact with the factors it has in that revision.
        artefact_index: Which of that artefact's factor pairs are its own.
        text: Its words, where they were asked for and not erased.
    """

    edit_id: str
    seq: int
    artefact: str
    artefact_index: int
    text: EditText | None = None

    @property
    def placement(self) -> Placement:
        """Where these factors are."""
        return Placement(self.edit_id, self.artefact, self.artefact_index)


@dataclass(frozen=True)
class LiveDifference:
    """What leads from the live edits of one revision to those of another.

    An edit of both that has other factors is lost with the former and gained with the latter.

    Attributes:
        lost: What the first revision alone has, in the order the edits were accepted.
        gained: What the second revision alone has, likewise.
    """

    lost: Sequence[LiveEdit] = ()
    gained: Sequence[LiveEdit] = ()

    @property
    def size(self) -> int:
        """How many sets of factors are to be added or subtracted."""
        return len(self.lost) + len(self.gained)

    @property
    def removed(self) -> list[LiveEdit]:
        """The edits that are live in the first revision alone."""
        staying = {edit.edit_id for edit in self.gained}
        return [edit for edit in self.lost if edit.edit_id not in staying]

    @property
    def resolved(self) -> list[tuple[LiveEdit, LiveEdit]]:
        """The edits that are live in both, with their former and their other factors."""
        former = {edit.edit_id: edit for edit in self.lost}
        return [(former[edit.edit_id], edit) for edit in self.gained if edit.edit_id in former]

    @property
    def added(self) -> list[LiveEdit]:
        """The edits that are live in the second revision alone."""
        known = {edit.edit_id for edit in self.lost}
        return [edit for edit in self.gained if edit.edit_id not in known]

    def applied(self, live: Mapping[str, LiveEdit]) -> dict[str, LiveEdit]:
        """The live edits of the second revision, from those of the first; both in order."""
        found = dict(live)
        for edit in self.removed:
            found.pop(edit.edit_id, None)
        newest = next(reversed(found.values()), None)
        found |= {edit.edit_id: edit for edit in self.gained}
        added = self.added
        if newest is not None and added and added[0].seq < newest.seq:
            return dict(sorted(found.items(), key=lambda item: item[1].seq))
        return found


def live_edits(session: Session, number: int) -> list[LiveEdit]:
    """The edits a revision holds, in the order they were accepted.

    Raises:
        UnknownRevision: There is no such revision.
    """
    get(session, number)
    return _live(session, RevisionChange.revision <= number)


def difference(session: Session, first: int, last: int, *, words: bool = False) -> LiveDifference:
    """What leads from one revision to another; costs what was changed between them.

    Args:
        session: A transaction.
        first: The one revision.
        last: The other, older or newer.
        words: Whether the texts of the edits are wanted, too.

    Raises:
        UnknownRevision: One of them does not exist.
    """
    get(session, first), get(session, last)
    low, high = sorted((first, last))
    between = and_(RevisionChange.revision > low, RevisionChange.revision <= high)
    older = list[LiveEdit]()
    if low > 0:  # in the base nothing is live
        changed = RevisionChange.edit_id.in_(select(RevisionChange.edit_id).where(between))
        older = _live(session, changed, RevisionChange.revision <= low, words=words)
    newer = _live(session, between, words=words)
    before, after = (older, newer) if first <= last else (newer, older)
    return LiveDifference(lost=_without(before, after), gained=_without(after, before))


def _live(session: Session, *changes: ColumnElement[bool], words: bool = False) -> list[LiveEdit]:
    """The edits that are live after the newest of some of their changes, in order."""
    newest = (
        select(RevisionChange.edit_id, func.max(RevisionChange.revision).label("revision"))
        .where(*changes)
        .group_by(RevisionChange.edit_id)
        .subquery()
    )
    is_newest = and_(
        RevisionChange.edit_id == newest.c.edit_id, RevisionChange.revision == newest.c.revision
    )
    columns: Sequence[Any] = (
        RevisionChange.edit_id,
        Operation.seq,
        RevisionChange.artefact,
        RevisionChange.artefact_index,
        StoredText.content if words else null(),
    )
    query = (
        select(*columns)
        .join(newest, is_newest)
        .join(Operation, Operation.id == RevisionChange.edit_id)
        .where(RevisionChange.change >= 0)
        .order_by(Operation.seq)
    )
    if words:
        query = query.outerjoin(StoredText, StoredText.edit_id == RevisionChange.edit_id)
    return [
        LiveEdit(id, seq, artefact, row, None if content is None else EditText.from_json(content))
        for id, seq, artefact, row, content in session.execute(query)
    ]


def _without(edits: Sequence[LiveEdit], others: Sequence[LiveEdit]) -> list[LiveEdit]:
    """The edits that are not among the others, or are with other factors."""
    placed = {edit.edit_id: edit.placement for edit in others}
    return [edit for edit in edits if placed.get(edit.edit_id) != edit.placement]
