"""Executing claimed operations: compute aside, store the factors, commit once, then serve.

Until the commit nothing has happened; after it, it has: a process that dies in between rebuilds
the committed head at its next start.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from sqlalchemy.orm import Session

from app.clock import Clock
from app.database.database import Database
from app.edits import repository as edits
from app.edits.report import EditReport
from app.operations import service as operations
from app.operations.models import Operation, OperationKind, OperationStatus
from app.operations.repository import get as get_operation
from app.resident.history import Change, History
from app.resident.resident import Resident
from app.revisions.artefacts import ArtefactStore
from app.revisions.models import RevisionKind
from app.revisions.service import AddedEdit, NewRevision, commit_revision
from app.worker.batch import Request, SolvedBatch, core_edit, edit_report, solve_batch
from app.worker.energies import Energies
from app.worker.measuring import measure
from editing_core.digest import weights_digest
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.errors import EditingError

_log = logging.getLogger(__name__)

_MOST_BESIDE = 8  # live edits of a subject that a new one is solved beside: bounds its cost


@dataclass(frozen=True)
class Execution:
    """Turns claimed operations into revisions, or into verdicts.

    Attributes:
        actor: Whom the ledger names as the author of revisions and verdicts.
    """

    database: Database
    artefacts: ArtefactStore
    history: History
    resident: Resident
    editor: Editor
    clock: Clock
    actor: str
    energies: Energies = field(default_factory=Energies)

    def execute(self, run: Sequence[Operation]) -> None:
        """Bring each operation to its end: committed, or rejected with a reason.

        May be called again with the same run after an outage; what has ended is left alone.

        Raises:
            Unavailable: The database is away.
            OSError: The disk did not take the factors.
        """
        with self.database.read() as session:
            waiting = [
                operation
                for operation in run
                if get_operation(session, operation.id).status is OperationStatus.RUNNING
            ]
        if not waiting:
            return
        if waiting[0].kind is OperationKind.EDIT:
            self._write_edits([operation.id for operation in waiting])
        else:
            self._undo(waiting[0])

    def _write_edits(self, ids: Sequence[str]) -> None:
        requests, method = self._requests(ids)
        if not requests:
            return
        try:
            batch = solve_batch(
                requests,
                beside=self._beside(requests),
                method=method,
                history=self.history,
                resident=self.resident,
                editor=self.editor,
                energies=self.energies,
            )
        except EditingError as error:
            if len(requests) > 1:  # nobody else's edit fails with the one that cannot be solved
                for request in requests:
                    self._write_edits([request.id])
                return
            # The log is told the code alone: it cannot be erased, and the sentence may quote.
            _log.warning("edit_rejected edit=%s reason=%s", requests[0].id, _code(error))
            report = EditReport(before=requests[0].before.standing, error=str(error))
            self._reject(requests[0].id, _code(error), report)
        else:
            self._commit_edits(batch)

    def _requests(self, ids: Sequence[str]) -> tuple[list[Request], str]:
        """The edits that are to be solved; those with nothing to do get their verdict here."""
        with self.database.read() as session:
            stored = [edits.get(session, id) for id in ids]
            texts = {edit.id: edits.text_of(session, edit.id) for edit in stored}
            superseded = {
                id: edits.live_edit_of_fact(session, text.subject, text.template)
                for id, text in texts.items()
                if text is not None
            }
        for id, text in texts.items():
            if text is None:
                self._reject(id, "erased", None)
        present = [(edit, text) for edit in stored if (text := texts[edit.id]) is not None]
        with self.resident.view() as view:
            before = measure(view.model, self.resident.tokenizer, [text for _, text in present])
        requests = []
        for (edit, text), found in zip(present, before, strict=True):
            if found.prompt.match and not edit.force:
                self._reject(edit.id, "already_true", EditReport(before=found.standing))
            else:
                requests.append(Request(edit.id, text, found, superseded[edit.id]))
        return requests, stored[0].method

    def _beside(self, requests: Sequence[Request]) -> list[Edit]:
        """Live edits of the subjects of ``requests`` that none of them supersedes."""
        superseded = {request.supersedes for request in requests if request.supersedes is not None}
        with self.database.read() as session:
            return [
                core_edit(id, text)
                for subject in sorted({request.text.subject for request in requests})
                for id, text in edits.live_edits_of_subject(
                    session, subject, but=superseded, limit=_MOST_BESIDE
                ).items()
                if text.subject == subject  # in other letters it has another key
            ]

    def _commit_edits(self, batch: SolvedBatch) -> None:
        started = perf_counter()
        artefact = self.artefacts.put(batch.solution.delta.to_bytes())
        stored = perf_counter() - started
        added = [
            AddedEdit(
                edit_id=request.id,
                artefact_index=index,
                report=edit_report(batch, index, stored).model_dump(mode="json"),
                supersedes=request.supersedes,
            )
            for index, request in enumerate(batch.requests)
        ]
        self._commit(
            RevisionKind.EDIT,
            [request.id for request in batch.requests],
            Change(batch.weights, removed=batch.removed),
            artefact=artefact,
            added=added,
        )
        after = {layer: gram for layer, (_, gram) in batch.grams.items()}
        self.energies.advance(self.history.head.revision, after)

    def _undo(self, operation: Operation) -> None:
        with self.database.read() as session:
            change = self._undoing(session, operation)
        if change is None:
            self._reject(operation.id, "not_live", None)
            return
        kind = RevisionKind(operation.kind.value)
        self._commit(kind, [operation.id], change)

    def _undoing(self, session: Session, operation: Operation) -> Change | None:
        """The change a revert or rollback makes; None for a revert of what head does not hold."""
        if operation.to_revision is not None:
            return self.history.change_to(session, operation.to_revision)
        target = operation.target_edit
        if target is None or target not in self.history.head.live:
            return None
        return self.history.without([target])

    def _commit(
        self,
        kind: RevisionKind,
        completed: Sequence[str],
        change: Change,
        *,
        artefact: str | None = None,
        added: Sequence[AddedEdit] = (),
    ) -> None:
        """The commit point, and what follows from it: the head moves here and for readers."""
        matrices = change.weights.materialise()
        new = NewRevision(
            kind=kind,
            parent=self.history.head.revision,
            operations=completed,
            weights_digest=weights_digest(matrices),
            artefact_digest=artefact,
            added=added,
            restored=change.restored,
            removed=change.removed,
        )
        with self.database.write() as session:
            revision = commit_revision(session, new, actor=self.actor, now=self.clock()).number
        self.resident.publish(revision, matrices)  # first: clients see the edit as committed
        self.history.advance(revision, change.weights)
        _log.info("revision_committed revision=%d kind=%s", revision, kind.value)

    def _reject(self, id: str, reason: str, report: EditReport | None) -> None:
        """End an operation without a revision; ``reason`` is a code: the ledger holds no text."""
        with self.database.write() as session:
            operations.reject(
                session,
                id,
                reason,
                now=self.clock(),
                actor=self.actor,
                report=None if report is None else report.model_dump(mode="json"),
            )


def _code(error: EditingError) -> str:
    """``non_finite`` for ``NonFinite``."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
