"""Revisions, what they changed, and where factors are, against the entries that tell of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.edits.models import Edit
from app.ledger.records import BaseRecord, RevisionRecord
from app.ledger.rows.reading import (
    Compared,
    RowDiffers,
    Told,
    require,
    require_equal,
    rows_by_key,
)
from app.revisions.models import Revision, RevisionChange

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
_FACTORS = (Edit.id, Edit.artefact, Edit.artefact_index, Edit.supersedes)

Changes = dict[int, set[tuple[str, int]]]


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
        added = {id for told in told_of.values() for id in _with_factors(told)}
        factors = rows_by_key(session, _FACTORS, added)
        for number, told in told_of.items():
            if number not in rows:
                what = f"ledger entry {told.index} tells of it, but it is missing"
                raise RowDiffers("revisions", number, what, told.index)
            require_equal("revisions", number, told, _as_recorded(rows[number], told))
            if isinstance(told.record, RevisionRecord):
                _compare_changes(told, told.record, changes[number])
                _compare_factors(told, told.record, factors)
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


def _with_factors(told: Told) -> tuple[str, ...]:
    """The edits whose factors came with a revision; ledgers of the first release do not say."""
    record = told.record
    if not isinstance(record, RevisionRecord) or record.rows is None:
        return ()
    return record.added[: len(record.rows)]


def _changes(session: Session, numbers: Sequence[int] | dict[int, Told]) -> Changes:
    columns = (RevisionChange.revision, RevisionChange.edit_id, RevisionChange.change)
    found = defaultdict[int, set[tuple[str, int]]](set)
    for number, id, change in session.execute(
        select(*columns).where(RevisionChange.revision.in_([*numbers]))
    ):
        found[number].add((id, change))
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
        if record.live_edits is not None:
            yield "live_edits", row.live_edits, record.live_edits


def _compare_changes(told: Told, record: RevisionRecord, found: set[tuple[str, int]]) -> None:
    expected = {(id, 1) for id in record.added} | {(id, -1) for id in record.removed}
    for id, _ in sorted(found ^ expected):
        what = f"the change of {id} is not what ledger entry {told.index} says"
        raise RowDiffers("revision_changes", record.number, what, told.index)


def _compare_factors(told: Told, record: RevisionRecord, factors: dict[Any, Row[Any]]) -> None:
    for id, row in zip(record.added, record.rows or (), strict=False):
        require(
            id in factors,
            "edits",
            id,
            f"ledger entry {told.index} tells of it, but it is missing",
            told.index,
        )
        compared: list[Compared] = [
            ("artefact", factors[id].artefact, record.artefact_digest),
            ("artefact_index", factors[id].artefact_index, row),
        ]
        if record.supersedes is not None:
            compared.append(("supersedes", factors[id].supersedes, record.supersedes.get(id)))
        require_equal("edits", id, told, iter(compared))
