"""What clients see of edits as the head moves: committed, superseded, or reverted.

An edit that left the head is superseded while the edit that took its place is live, or is
superseded itself; without such a successor it is reverted.
"""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import Operation
from app.database.tables.revisions import Revision
from app.operations import events
from app.operations.edits import read_ahead

_AT_ONCE = 1_000  # ids in one query: databases have a limit
_STANDING = (EditStatus.COMMITTED, EditStatus.SUPERSEDED)


def settle(
    session: Session, revision: Revision, *, gained: Sequence[str], removed: Sequence[str]
) -> None:
    """Give the edits that a revision touched, and those they superseded, the status they have now.

    Args:
        session: The write transaction that commits the revision.
        revision: The new head.
        gained: Ids of the edits that became live; those that are new are committed already.
        removed: Ids of the edits that ceased to be live.
    """
    before = dict[str, tuple[Edit, EditStatus]]()
    for ids, status in ((gained, EditStatus.COMMITTED), (removed, EditStatus.REVERTED)):
        for edit in _edits(session, ids):
            before[edit.id] = (edit, edit.status)
            edit.status, edit.superseded_by = status, None
    doubtful = {*removed, *_predecessors(edit for edit, _ in before.values())}
    while doubtful:
        session.flush()
        successors = _successors(session, doubtful)
        moved = []
        for edit in _edits(session, sorted(doubtful)):
            before.setdefault(edit.id, (edit, edit.status))
            if edit.status is not EditStatus.COMMITTED and _moves(edit, successors.get(edit.id)):
                moved.append(edit)
        doubtful = _predecessors(moved)
    for edit, status in before.values():
        if edit.status is not status:
            events.record(
                session, edit.id, edit.status, now=revision.created_at, revision=revision.number
            )


def _moves(edit: Edit, successor: str | None) -> bool:
    """Set what follows from an edit's successor; whether that changes its status."""
    status = EditStatus.REVERTED if successor is None else EditStatus.SUPERSEDED
    moves, edit.status, edit.superseded_by = edit.status is not status, status, successor
    return moves


def _successors(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Edit id → what took its place, the live one or else the newest, if any stands."""
    found = dict[str, str]()
    for some in _parts(ids):
        query = (
            select(Edit.supersedes, Edit.id)
            .join(Operation, Operation.id == Edit.id)
            .where(Edit.supersedes.in_(some), Edit.status.in_(_STANDING))
            .order_by((Edit.status == EditStatus.COMMITTED).asc(), Operation.seq)
        )
        found |= {below: id for below, id in session.execute(query) if below is not None}
    return found


def _edits(session: Session, ids: Sequence[str]) -> list[Edit]:
    read_ahead(session, ids)
    return [session.get_one(Edit, id) for id in ids]


def _predecessors(edits: Iterable[Edit]) -> set[str]:
    return {edit.supersedes for edit in edits if edit.supersedes is not None}


def _parts(ids: Collection[str]) -> list[list[str]]:
    listed = sorted(ids)
    return [listed[at : at + _AT_ONCE] for at in range(0, len(listed), _AT_ONCE)]
