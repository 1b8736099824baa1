"""Withdraws revisions, so that what an edit made them say is no longer served.

Which revisions hold the edit follows from the ledger, so the whole of it is one decision: all of
them, for ever. The factors stay, because the weights of later revisions are proved with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from app.database.tables.ledger import EntryKind
from app.database.tables.withdrawals import Why, Withdrawal
from app.errors import WrongState
from app.exports import service as exports
from app.exports.store import ExportStore
from app.ledger import service as ledger
from app.ledger.artefacts import ArtefactStore
from app.operations import edits, snapshots
from app.operations import withdrawals as repository
from app.operations.revisions import newest as newest_revision


@dataclass(frozen=True)
class Leftovers:
    """Files that hold what was withdrawn; the database does not name them any more.

    Attributes:
        snapshots: Digests of snapshots.
        exports: Ids of exports.
    """

    snapshots: Sequence[str] = ()
    exports: Sequence[str] = ()

    def remove(self, data_dir: Path) -> None:
        """Remove them from a data directory; those of other hosts go at their next turn."""
        stored = ArtefactStore(data_dir / "snapshots")
        for digest in self.snapshots:
            stored.remove(digest)
        written = ExportStore(data_dir)
        for export_id in self.exports:
            written.remove(export_id)


def withdraw(session: Session, edit_id: str, why: Why, *, actor: str, now: datetime) -> Leftovers:
    """Withdraw every revision that holds an edit; a second time changes nothing.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: The head holds it.
    """
    edit = edits.get(session, edit_id)
    newest = newest_revision(session)
    if newest is None or repository.of_edit(session, edit_id):
        return Leftovers()
    spans = repository.spans(session, edit_id, head=newest.number)
    if not spans:
        return Leftovers()
    if spans[-1].last == newest.number:
        raise WrongState(
            f"revision {newest.number}, which is served, holds edit {edit.id!r}; revert it first "
            f"(POST /v1/edits/{edit.id}/revert), then withdraw the revisions before"
        )
    entry = ledger.append(
        session,
        EntryKind.WITHDRAWAL,
        {"edit": edit_id, "revisions": [list(span) for span in spans], "why": why.value},
        actor=actor,
        now=now,
    )
    repository.add(
        session,
        [
            Withdrawal(
                edit_id=edit_id,
                first=span.first,
                last=span.last,
                why=why,
                withdrawn_at=now,
                ledger_index=entry.index,
            )
            for span in spans
        ],
    )
    edit.operation.ledger_index = entry.index
    return Leftovers(
        snapshots=snapshots.forget_revisions(session, spans),
        exports=exports.withdraw(session, spans, now=now),
    )
