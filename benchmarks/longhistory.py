"""A data directory with a long history, written by the functions of the service and its worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from sqlalchemy.orm import Session

from app.client import Errata
from app.clock import new_id, utc_now
from app.database.base import JsonObject
from app.database.database import Database
from app.edits import repository as edits
from app.edits.models import Edit, EditStatus
from app.edits.text import EditText
from app.operations.models import Operation, OperationKind
from app.operations.service import accept, claim
from app.revisions import repository as revisions
from app.revisions.models import Revision, RevisionKind
from app.revisions.service import AddedEdit, NewRevision, commit_revision
from tests.acceptance.server import calibrate_quickly, running
from tests.tiny import build_tiny_model

_AT_ONCE = 100  # edits in one transaction
_WAIT_S = 120.0
_ACTOR = "bench"
_METHOD = "memit+sphere"
_PROMPT = "The capital of {} is"
_SALT = "00" * 16


def long_history(folder: Path, length: int) -> tuple[Path, Path]:
    """A model and a data directory whose head has at least this number; kept in `folder`.

    The service records the base and makes the first edit, which stays live. Each later edit is
    undone by the next revision: both are accepted, claimed and committed as ever, but nothing is
    computed. They repeat the report of the first edit, and name its factors, which nobody reads for
    an edit that is not live.
    """
    model, data = folder / "tiny", folder / "data"
    if not model.exists():
        calibrate_quickly(data)
        build_tiny_model(model)
        with running(data, str(model)) as server, Errata(server.url) as errata:
            made = errata.submit("France", _PROMPT, "Rome", force=True)
            errata.wait(made.id, _WAIT_S)
    _lengthen(Database(f"sqlite:///{data / 'errata.db'}"), length)
    return model, data


def _lengthen(database: Database, length: int) -> None:
    with database.read() as session:
        first, head = revisions.get(session, 1), revisions.head(session)
        assert first.operation is not None  # noqa: S101 - only the base has none
        report = edits.get(session, first.operation).report
    missing = length - (0 if head is None else head.number)
    rounds = range(0, missing, 2 * _AT_ONCE)
    for _ in track(rounds, "writing a long history", console=Console(stderr=True)):
        with database.write() as session:
            writer = _Writer(session, first, report or {})
            for _ in range(_AT_ONCE):
                writer.undo(writer.edit())
    database.close()


@dataclass(frozen=True)
class _Writer:
    """Writes revisions in one transaction.

    Attributes:
        like: The revision whose weights and factors they have.
        report: What every edit reports.
    """

    session: Session
    like: Revision
    report: JsonObject

    def edit(self) -> str:
        """Make an edit live; its id."""
        text = EditText("Place", _PROMPT, _PROMPT, "Rome")
        digest = text.digest(_SALT)
        operation = self._accept(OperationKind.EDIT, {"method": _METHOD, "text_digest": digest})
        edit = Edit(
            id=operation.id,
            method=_METHOD,
            force=True,
            status=EditStatus.ACCEPTED,
            text_digest=digest,
        )
        edits.add(self.session, edit, text, salt=_SALT)
        added = [AddedEdit(edit.id, 0, self.report)]
        self._commit(operation, RevisionKind.EDIT, self.like.artefact_digest, added)
        return edit.id

    def undo(self, edit_id: str) -> None:
        """Undo an edit."""
        operation = self._accept(OperationKind.REVERT, {"target_edit": edit_id}, edit_id)
        self._commit(operation, RevisionKind.REVERT, removed=[edit_id])

    def _accept(
        self, kind: OperationKind, details: JsonObject, target: str | None = None
    ) -> Operation:
        return accept(
            self.session,
            id=new_id(kind.value),
            kind=kind,
            details=details,
            actor=_ACTOR,
            now=utc_now(),
            target_edit=target,
        )

    def _commit(
        self,
        operation: Operation,
        kind: RevisionKind,
        artefact: str | None = None,
        added: Sequence[AddedEdit] = (),
        removed: Sequence[str] = (),
    ) -> None:
        claim(self.session, [operation], utc_now())
        head = revisions.head(self.session)
        new = NewRevision(
            kind=kind,
            parent=0 if head is None else head.number,
            operations=[operation.id],
            weights_digest=self.like.weights_digest,
            artefact_digest=artefact,
            added=added,
            removed=removed,
            report=self.like.report,
        )
        commit_revision(self.session, new, actor=_ACTOR, now=utc_now())
