"""Revisions, what they changed, and where factors are, against the entries that tell of them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.audit.rows.reading import Compared, Told, require, require_equal, rows_by_key
from app.database.tables.edits import Edit
from app.database.tables.revisions import Revision, RevisionChange
from app.facts.placements import Placement
from app.ledger.differing import RowDiffers
from app.ledger.records import BaseRecord, RevisionRecord
from app.operations.revisions import placements

_REVISION = (
    Revision.number,
    Revision.parent,
    Revision.kind,
    Revision.operation,
    Revision.weights_digest,
    Revision.artefact_digest,
    Revision.live_edits,
    Revision.created_at,
    Revision.ledger_index,
)
_SUPERSEDES = (Edit.id, Edit.supersedes)
_CHANGE = (
    RevisionChange.edit_id,
    RevisionChange.revision,
    RevisionChange.change,
    RevisionChange.artefact,
    RevisionChange.artefact_index,
)

Changes = dict[str, tuple[int, tuple[str | None, int | None]]]
"""Edit id → what a revision changed of it, and the artefact and row of its factors since."""


class RevisionRows:
    """Follows the ledger and looks at each revision when its entry comes."""

    def __init__(self) -> None:
        self._newest = -1

    def take(self, session: Session, page: Sequence[Told]) -> None:
        """Compare what these entries say with the rows of the same moment.

        Raises:
            RowDiffers: A row is another, or is missing.
        """
        told_of = {number: told for told in page if (number := _number(told)) is not None}
        if not told_of:
            return
        rows, changes = rows_by_key(session, _REVISION, told_of), _changes(session, told_of)
        first = {id for told in told_of.values() for id in _first_there(told)}
        edits = rows_by_key(session, _SUPERSEDES, first)
        had = placements(session, {id for told in told_of.values() for id in _restored(told)})
        for number, told in told_of.items():
            if number not in rows:
                what = f"ledger entry {told.index} tells of it, but it is missing"
                raise RowDiffers("revisions", number, what, told.index)
            require_equal("revisions", number, told, _as_recorded(rows[number], told))
            if isinstance(told.record, RevisionRecord):
                _compare_changes(told, told.record, changes[number])
                _compare_factors(told, told.record, changes[number], had)
                _compare_supersedes(told, told.record, edits)
            self._newest = max(self._newest, number)

    def finish(self, session: Session) -> None:
        """All entries there are have been taken.

        Raises:
            RowDiffers: There is a revision, or a change of one, that no entry tells of.
        """
        for column in (Revision.number, RevisionChange.revision):
            query = select(column).where((column > self._newest) | (column < 0)).limit(1)
            for number in session.scalars(query):
                raise RowDiffers(
                    column.class_.__tablename__, number, "no ledger entry tells of it", None
                )


def _number(told: Told) -> int | None:
    match told.record:
        case BaseRecord():
            return 0
        case RevisionRecord() as record:
            return record.number
    return None


def _first_there(told: Told) -> tuple[str, ...]:
    """The edits whose first factors came with a revision."""
    record = told.record
    return record.added[: len(record.rows)] if isinstance(record, RevisionRecord) else ()


def _restored(told: Told) -> tuple[str, ...]:
    """The edits that a revision restored with the only factors they had."""
    record = told.record
    if not isinstance(record, RevisionRecord):
        return ()
    return tuple(id for id in record.added[len(record.rows) :] if id not in record.factors)


def _changes(session: Session, numbers: Sequence[int] | dict[int, Told]) -> dict[int, Changes]:
    found = defaultdict[int, Changes](dict)
    query = select(*_CHANGE).where(RevisionChange.revision.in_([*numbers]))
    for id, number, change, artefact, row in session.execute(query):
        found[number][id] = (change, (artefact, row))
    return found


def _as_recorded(row: Row[Any], told: Told) -> Iterator[Compared]:
    yield "ledger_index", row.ledger_index, told.index
    yield "created_at", row.created_at, told.entry.at
    record = told.record
    if isinstance(record, BaseRecord):
        yield "kind", row.kind, "base"
        yield "weights_digest", row.weights_digest, record.weights_digest
        yield "live_edits", row.live_edits, 0
    elif isinstance(record, RevisionRecord):
        yield "parent", row.parent, record.parent
        yield "kind", row.kind, record.kind
        yield "operation", row.operation, record.operations[-1] if record.operations else None
        yield "weights_digest", row.weights_digest, record.weights_digest
        yield "artefact_digest", row.artefact_digest, record.artefact_digest
        yield "live_edits", row.live_edits, record.live_edits


def _compare_changes(told: Told, record: RevisionRecord, found: Changes) -> None:
    replaced = record.factors.keys() - set(record.added)
    expected = {(id, 1) for id in record.added} | {(id, -1) for id in record.removed}
    expected |= {(id, 0) for id in replaced}
    for id, _ in sorted({(id, change) for id, (change, _) in found.items()} ^ expected):
        raise _differing(told, record, id)


def _compare_factors(
    told: Told, record: RevisionRecord, found: Changes, had: Mapping[str, Sequence[Placement]]
) -> None:
    """Hold where factors are against what the entry names, or against where they first were."""
    named: dict[str, tuple[str | None, int | None]] = {
        id: (record.artefact_digest, row) for id, row in _first_rows(record)
    }
    named |= {id: (had[id][0].artefact, had[id][0].row) for id in _restored(told)}
    named |= record.factors
    named |= dict.fromkeys(record.removed, (None, None))
    for id, place in sorted(named.items()):
        if found[id][1] != place:
            raise _differing(told, record, id)


def _compare_supersedes(told: Told, record: RevisionRecord, edits: Mapping[Any, Row[Any]]) -> None:
    for id, _ in _first_rows(record):
        what = f"ledger entry {told.index} tells of it, but it is missing"
        require(id in edits, "edits", id, what, told.index)
        compared = ("supersedes", edits[id].supersedes, record.supersedes.get(id))
        require_equal("edits", id, told, iter([compared]))


def _first_rows(record: RevisionRecord) -> Iterator[tuple[str, int]]:
    return zip(record.added, record.rows, strict=False)


def _differing(told: Told, record: RevisionRecord, id: str) -> RowDiffers:
    what = f"the change of {id} is not what ledger entry {told.index} says"
    return RowDiffers("revision_changes", record.number, what, told.index)
