"""A data directory with a long history, written by the functions of the service and its worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from sqlalchemy.orm import Session

from app.client import Errata
from app.database.database import Database
from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import Operation, OperationKind
from app.database.tables.revisions import Revision
from app.facts.text import EditText
from app.kit.canonical import JsonObject
from app.kit.clock import new_id, utc_now
from app.operations import edits, revisions
from app.operations.commit import AddedEdit, NewRevision, commit_revision
from app.operations.lifecycle import accept, claim
from tests.acceptance.server import calibrate_quickly, running
from tests.support.tiny import build_tiny_model

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
    model, data = begun(folder)
    _lengthen(Database(f"sqlite:///{data / 'errata.db'}"), length)
    return model, data


def begun(folder: Path) -> tuple[Path, Path]:
    """A tiny model and its data directory, with the one edit that the service has made."""
    model, data = folder / "tiny", folder / "data"
    if not model.exists():
        calibrate_quickly(data)
        build_tiny_model(model)
        with running(data, str(model)) as server, Errata(server.url) as errata:
            made = errata.submit("France", _PROMPT, "Rome", force=True)
            errata.wait(made.id, _WAIT_S)
    return model, data


def _lengthen(database: Database, length: int) -> None:
    with database.read() as session:
        head = revisions.newest(session)
        like, report = first_edit(session)
    missing = length - (0 if head is None else head.number)
    rounds = range(0, missing, 2 * _AT_ONCE)
    for _ in track(rounds, "writing a long history", console=Console(stderr=True)):
        with database.write() as session:
            writer = Writer(session, like, report)
            for _ in range(_AT_ONCE):
                writer.undo(writer.edit())
    database.close()


def first_edit(session: Session) -> tuple[Revision, JsonObject]:
    """The revision that the service has made, and what its edit reports."""
    first = revisions.get(session, 1)
    assert first.operation is not None  # noqa: S101 - only the base has none
    return first, edits.get(session, first.operation).report or {}


@dataclass(frozen=True)
class Writer:
    """Writes revisions in one transaction.

    Attributes:
        like: The revision whose weights and factors they have.
        report: What every edit reports.
    """

    session: Session
    like: Revision
    report: JsonObject

    def edit(self) -> str:
        """Make an edit live that adds nothing to what the first has; its id."""
        (operation,) = self.accept(1)
        self.write([operation], self.like.artefact_digest, self.like.weights_digest)
        return operation.id

    def accept(self, count: int) -> list[Operation]:
        """Accept edits."""
        return [self._accept_edit() for _ in range(count)]

    def write(
        self, accepted: Sequence[Operation], artefact: str | None, weights_digest: str
    ) -> None:
        """Commit accepted edits as one revision, whose factors are in an artefact in this order."""
        added = [AddedEdit(found.id, row, self.report) for row, found in enumerate(accepted)]
        self._commit(accepted, OperationKind.EDIT, weights_digest, artefact, added)

    def _accept_edit(self) -> Operation:
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
        return operation

    def undo(self, edit_id: str) -> None:
        """Undo an edit."""
        operation = self._accept(OperationKind.REVERT, {"target_edit": edit_id}, edit_id)
        self._commit([operation], OperationKind.REVERT, self.like.weights_digest, removed=[edit_id])

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
        completed: Sequence[Operation],
        kind: OperationKind,
        weights_digest: str,
        artefact: str | None = None,
        added: Sequence[AddedEdit] = (),
        removed: Sequence[str] = (),
    ) -> None:
        claim(self.session, completed, utc_now())
        head = revisions.newest(self.session)
        new = NewRevision(
            kind=kind,
            parent=0 if head is None else head.number,
            operations=[operation.id for operation in completed],
            weights_digest=weights_digest,
            artefact_digest=artefact,
            added=added,
            removed=removed,
            report=self.like.report,
        )
        commit_revision(self.session, new, actor=_ACTOR, now=utc_now())
