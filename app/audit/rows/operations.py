"""Operations against the entries that tell of them, in both directions."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.audit.rows.edits import EditRows, Standing
from app.audit.rows.reading import (
    Compared,
    Told,
    keys_after,
    require,
    require_equal,
    rows_by_key,
)
from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.reverts import Revert
from app.kit.canonical import canonical
from app.ledger import repository
from app.ledger.chain import Link
from app.ledger.differing import RowDiffers
from app.ledger.records import (
    ErasureRecord,
    OperationRecord,
    Record,
    RevisionRecord,
    VerdictRecord,
    WithdrawalRecord,
    read,
)

_OPERATION = (
    Operation.id,
    Operation.seq,
    Operation.kind,
    Operation.status,
    Operation.created_at,
    Operation.actor,
    Operation.ledger_index,
    Operation.reason,
    Operation.finished_at,
    Operation.revision,
    Operation.to_revision,
    Operation.target_edit,
    Operation.if_head,
)
_REVERT = (Revert.operation_id, Revert.force, Revert.restore, Revert.dry_run)
_WAITING = {OperationStatus.ACCEPTED, OperationStatus.RUNNING}


class OperationRows:
    """Follows the ledger and looks at each operation when an entry tells of it.

    What an entry says may be overtaken by a later one in two ways only: an operation that was
    given up is accepted again, and an edit is erased. Those are remembered, and nothing else.
    """

    def __init__(self) -> None:
        self._moved: set[str] = set()  # they have another place than was told so far
        self._revived: set[str] = set()  # they were given up, and no longer are
        self._erased: set[str] = set()
        self._taken = -1

    def take(self, session: Session, page: Sequence[Told]) -> None:
        """Compare what these entries say with the rows of the same moment.

        Raises:
            RowDiffers: A row is another, or is missing.
        """
        ids = {id for told in page for id in _ids(told)}
        rows, edits = rows_by_key(session, _OPERATION, ids), EditRows.read(session, ids)
        reverts = rows_by_key(session, _REVERT, ids)
        for told in page:
            self._taken, record = told.index, told.record
            for id in _ids(told):
                if id not in rows:
                    what = f"ledger entry {told.index} tells of it, but it is missing"
                    raise RowDiffers("operations", id, what, told.index)
                self._look(told, rows[id])
            if isinstance(record, OperationRecord) and record.text_digest is not None:
                edits.compare(told, record)
            if isinstance(record, OperationRecord) and record.target_edit is not None:
                _compare_revert(told, record, reverts.get(record.id))
            if isinstance(record, ErasureRecord) and record.id in edits.edits:
                edits.compare_erased(told, record.id)
                self._erased.add(record.id)

    def finish(self) -> None:
        """All entries there are have been taken.

        Raises:
            RowDiffers: What a row says was expected of a later entry, which never came.
        """
        for ids, column in ((self._moved, "seq"), (self._revived, "status")):
            for id in sorted(ids):
                raise RowDiffers("operations", id, f"its {column} is in no ledger entry", None)

    def check_page(self, session: Session, after: int, limit: int) -> int | None:
        """Look for what no entry tells of, among the operations after a place in their order.

        Returns:
            The place of the last that was looked at; None at the end.

        Raises:
            RowDiffers: There is one.
        """
        seqs = keys_after(session, Operation.seq, after, limit)
        rows = list(rows_by_key(session, (Operation.seq, *_OPERATION), seqs).values())
        found = EditRows.read(session, {row.id for row in rows})
        standing = Standing(session, found.edits)
        entries = repository.links_at(session, {row.ledger_index for row in rows})
        for row in rows:
            index, newest = row.ledger_index, _read(entries.get(row.ledger_index))
            what = "its newest ledger entry tells of something else"
            require(_tells_of(newest, row), "operations", row.id, what, index)
            edit, is_edit = found.edits.get(row.id), row.kind is OperationKind.EDIT
            require((edit is not None) == is_edit, "edits", row.id, "it is no edit", index)
            if edit is not None:
                what = "its words are gone, and no ledger entry says that they were erased"
                kept = row.id in found.texts or self._is_erased(session, row.id, newest)
                require(kept, "edit_texts", row.id, what, index)
                what = "its status does not follow from the revisions"
                require(standing.follows(row.status, edit), "edits", row.id, what, index)
        return seqs[-1] if len(seqs) == limit else None

    def _look(self, told: Told, row: Row[Any]) -> None:
        what = f"it does not know of ledger entry {told.index}, which tells of it"
        require(row.ledger_index >= told.index, "operations", row.id, what, told.index)
        match told.record:
            case OperationRecord() as record:
                _note(self._moved, row.id, row.seq != record.seq)
                self._revived.discard(row.id)
                require_equal("operations", row.id, told, _as_accepted(row, told, record))
            case VerdictRecord() as record:
                again = record.status == OperationStatus.DEAD
                _note(self._revived, row.id, again and row.status != record.status)
                if not again or row.ledger_index == told.index:
                    require_equal("operations", row.id, told, _as_ended(row, told, record))
            case RevisionRecord() as record:
                require_equal("operations", row.id, told, _as_committed(row, told, record))

    def _is_erased(self, session: Session, id: str, newest: Record | None) -> bool:
        """Whether an entry says so, if need be one that came after those that were taken."""
        if id in self._erased or (isinstance(newest, ErasureRecord) and newest.id == id):
            return True
        return repository.has(session, EntryKind.ERASURE, canonical({"id": id}), self._taken)


def _compare_revert(told: Told, record: OperationRecord, row: Row[Any] | None) -> None:
    if row is None:
        what = f"ledger entry {told.index} tells of it, but it is missing"
        raise RowDiffers("reverts", record.id, what, told.index)
    compared: list[Compared] = [
        ("force", row.force, record.force),
        ("restore", row.restore, record.restore),
        ("dry_run", row.dry_run, record.dry_run),
    ]
    require_equal("reverts", record.id, told, iter(compared))


def _ids(told: Told) -> tuple[str, ...]:
    """Which operations an entry tells of."""
    match told.record:
        case OperationRecord() | VerdictRecord() | ErasureRecord() as record:
            return (record.id,)
        case RevisionRecord() as record:
            return record.operations
    return ()


def _note(ids: set[str], id: str, holds: bool) -> None:
    if holds:
        ids.add(id)
    else:
        ids.discard(id)


def _as_accepted(row: Row[Any], told: Told, record: OperationRecord) -> Iterator[Compared]:
    yield "kind", row.kind, record.kind
    if record.former_seq is not None:
        return  # what was accepted first still holds
    yield "actor", row.actor, told.entry.actor
    yield "created_at", row.created_at, told.entry.at
    yield "to_revision", row.to_revision, record.to_revision
    yield "target_edit", row.target_edit, record.target_edit
    yield "if_head", row.if_head, record.if_head


def _as_ended(row: Row[Any], told: Told, record: VerdictRecord) -> Iterator[Compared]:
    yield "status", row.status, record.status
    yield "seq", row.seq, record.seq
    yield "finished_at", row.finished_at, told.entry.at
    # Erasing an edit takes the reasons of its reverts along.
    if row.kind is OperationKind.EDIT or row.reason is not None:
        yield "reason", row.reason, record.reason


def _as_committed(row: Row[Any], told: Told, record: RevisionRecord) -> Iterator[Compared]:
    yield "status", row.status, OperationStatus.COMMITTED
    yield "revision", row.revision, record.number
    yield "finished_at", row.finished_at, told.entry.at


def _read(entry: Link | None) -> Record | None:
    try:
        return None if entry is None else read(entry)
    except ValueError:
        return None


def _tells_of(record: Record | None, row: Row[Any]) -> bool:
    """Whether a record is about an operation, and leaves it as it is."""
    match record:
        case OperationRecord():
            return (record.id, record.seq) == (row.id, row.seq) and row.status in _WAITING
        case VerdictRecord():
            return (record.id, record.status) == (row.id, row.status)
        case RevisionRecord():
            return row.id in record.operations and row.status is OperationStatus.COMMITTED
        case ErasureRecord():
            return bool(record.id == row.id)
        case WithdrawalRecord():
            return bool(record.edit == row.id and row.status is OperationStatus.COMMITTED)
    return False
