"""Edits and every word of them, against the entries that tell of them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.audit.rows.reading import Compared, Told, require, require_equal, rows_by_key
from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit, EditStatus, StoredText
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.reverts import Revert
from app.database.tables.revisions import RevisionChange
from app.kit.canonical import canonical
from app.ledger.differing import RowDiffers
from app.ledger.records import OperationRecord

_EDIT = (
    Edit.id,
    Edit.method,
    Edit.force,
    Edit.text_digest,
    Edit.dry_run,
    Edit.gates,
    Edit.batch_id,
    Edit.erased_at,
    Edit.status,
    Edit.superseded_by,
)
_TEXT = (StoredText.edit_id, StoredText.salt, StoredText.content)
_BATCH = (EditBatch.id, EditBatch.atomic)

Rows = Mapping[Any, Row[Any]]


@dataclass(frozen=True)
class EditRows:
    """Some edits as they are at one moment.

    Attributes:
        edits: Id → the row.
        texts: Id → the words, unless they are gone.
        batches: Id → the batch.
    """

    edits: Rows
    texts: Rows
    batches: Rows

    @classmethod
    def read(cls, session: Session, ids: Set[str]) -> Self:
        """Those of these operations that are edits."""
        edits = rows_by_key(session, _EDIT, ids)
        batches = {edit.batch_id for edit in edits.values()} - {None}
        return cls(edits, rows_by_key(session, _TEXT, ids), rows_by_key(session, _BATCH, batches))

    def compare(self, told: Told, record: OperationRecord) -> None:
        """Hold an edit against the entry of its acceptance.

        Raises:
            RowDiffers: It is another, or is missing.
        """
        edit = self.edits.get(record.id)
        if edit is None:
            what = f"ledger entry {told.index} tells of it, but it is missing"
            raise RowDiffers("edits", record.id, what, told.index)
        require_equal("edits", edit.id, told, _as_accepted(edit, record))
        if record.batch is not None:
            batch = self.batches.get(record.batch)
            atomic = None if batch is None else batch.atomic
            compared: list[Compared] = [("atomic", atomic, record.atomic)]
            require_equal("edit_batches", record.batch, told, iter(compared))
        text = self.texts.get(record.id)
        # Whether words that are gone were erased is asked when all erasures are known.
        require(
            text is None or _digest(text) == record.text_digest,
            "edit_texts",
            record.id,
            f"its words do not have the digest that ledger entry {told.index} has",
            told.index,
        )

    def compare_erased(self, told: Told, id: str) -> None:
        """Hold an edit against the entry of its erasure.

        Raises:
            RowDiffers: It still has words, or others.
        """
        compared: list[Compared] = [("erased_at", self.edits[id].erased_at, told.entry.at)]
        require_equal("edits", id, told, iter(compared))
        require(id not in self.texts, "edit_texts", id, "its words were erased", told.index)


class Standing:
    """What clients see of edits: whether the head holds them, and what took their place.

    An edit is superseded while what took its place is live, or is superseded itself.
    """

    def __init__(self, session: Session, edits: Rows) -> None:
        change, ids = func.sum(RevisionChange.change), list(edits)
        live = select(RevisionChange.edit_id).where(RevisionChange.edit_id.in_(ids))
        self._live = set(session.scalars(live.group_by(RevisionChange.edit_id).having(change > 0)))
        standing = (EditStatus.COMMITTED, EditStatus.SUPERSEDED)
        successors = select(Edit.supersedes, Edit.id).where(
            Edit.supersedes.in_(ids), Edit.status.in_(standing)
        )
        self._successors = {(below, id) for below, id in session.execute(successors)}

    def follows(self, status: OperationStatus, edit: Row[Any]) -> bool:
        """Whether an edit's status follows from its operation's and from the revisions."""
        if status is not OperationStatus.COMMITTED:
            return bool(edit.status == status.value)
        if edit.id in self._live:
            return edit.status is EditStatus.COMMITTED
        if edit.superseded_by is None:
            is_superseded = any(superseded == edit.id for superseded, _ in self._successors)
            return edit.status is EditStatus.REVERTED and not is_superseded
        follows = (edit.id, edit.superseded_by) in self._successors
        return follows and edit.status is EditStatus.SUPERSEDED


def check_strays(session: Session) -> None:
    """Look for edits, words and batches that hang on nothing.

    Raises:
        RowDiffers: There is one.
    """
    batches = select(Edit.batch_id).where(Edit.batch_id.is_not(None))
    reverts = select(Operation.id).where(Operation.kind == OperationKind.REVERT)
    strays: Sequence[tuple[str, Any]] = (
        ("edits", select(Edit.id).where(Edit.id.not_in(select(Operation.id)))),
        (
            "edit_texts",
            select(StoredText.edit_id).where(StoredText.edit_id.not_in(select(Edit.id))),
        ),
        ("edit_batches", select(EditBatch.id).where(EditBatch.id.not_in(batches))),
        (
            "reverts",
            select(Revert.operation_id).where(Revert.operation_id.not_in(reverts)),
        ),
    )
    for table, query in strays:
        for id in session.scalars(query.limit(1)):
            raise RowDiffers(table, id, "no ledger entry tells of it", None)


def _as_accepted(edit: Row[Any], record: OperationRecord) -> Iterator[Compared]:
    yield "method", edit.method, record.method
    yield "text_digest", edit.text_digest, record.text_digest
    yield "dry_run", edit.dry_run, record.dry_run
    gates = edit.gates if isinstance(edit.gates, dict) else {"": edit.gates}
    told = {} if edit.gates is None else {name: str(value) for name, value in gates.items()}
    yield "gates", told, record.gates
    yield "batch_id", edit.batch_id, record.batch
    yield "force", edit.force, record.force


def _digest(text: Row[Any]) -> str | None:
    try:
        salted = bytes.fromhex(text.salt) + canonical(text.content).encode()
    except (ValueError, TypeError, RecursionError):
        return None
    return hashlib.sha256(salted).hexdigest()
