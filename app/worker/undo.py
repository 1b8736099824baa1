"""Reverts and rollbacks that were claimed."""

from dataclasses import dataclass

from app.database.database import Database
from app.database.tables.operations import Operation, OperationKind
from app.errors import RevisionWithdrawn
from app.operations import reverts
from app.worker.commits import Commits
from app.worker.effects import EffectGauge
from app.worker.reverting import Reverter, Undoing
from app.worker.revision_report import report_of_undoing
from app.worker.task import Rejection
from editing_core.measures.energy import RowGram


@dataclass(frozen=True)
class Undo:
    """Turns claimed reverts and rollbacks into revisions, or into verdicts."""

    database: Database
    commits: Commits
    reverter: Reverter
    gauge: EffectGauge

    def undo(self, operation: Operation) -> None:
        """Bring a revert or a rollback to its end."""
        try:
            if operation.if_head not in (None, self.commits.lineage.head_state.revision):
                self._reject(operation, "head_moved")
            elif operation.to_revision is not None:
                self._roll_back(operation.id, operation.to_revision)
            else:
                self._revert(operation)
        except RevisionWithdrawn:  # since the operation was accepted
            self._reject(operation, "withdrawn")

    def _roll_back(self, operation_id: str, to_revision: int) -> None:
        lineage = self.commits.lineage
        lineage.require_served(to_revision)
        change = lineage.change_to(to_revision)
        matrices = change.edited.matrices
        grams = {layer: RowGram.of(weight) for layer, weight in matrices.items()}
        report = report_of_undoing(change, grams, lineage, self.gauge, self.commits.recipe)
        self.commits.make_revision(OperationKind.ROLLBACK, [operation_id], change, grams, report)

    def _revert(self, operation: Operation) -> None:
        target = operation.target_edit
        with self.database.read() as session:
            wanted = reverts.get(session, operation.id)
        if target is None or target not in self.commits.lineage.head_state.live:
            self._reject(operation, "not_live")
            return
        found = self.reverter.undo(target, restore=wanted.restore)
        if wanted.dry_run:
            self.commits.try_out({operation.id: found.report}, operation.kind)
        elif found.report.refused is not None and not wanted.force:
            refused = Rejection(operation.id, found.report.refused, found.report)
            self.commits.reject([refused], operation.kind)
        else:
            self._commit(operation, found)

    def _commit(self, operation: Operation, found: Undoing) -> None:
        change, stored = found.change, None
        if found.solution is not None:
            stored = self.commits.store(found.solution.delta)
            change = found.placed(stored.artefact)
        report = report_of_undoing(
            change, found.grams, self.commits.lineage, self.gauge, self.commits.recipe
        )
        self.commits.make_revision(
            OperationKind.REVERT,
            [operation.id],
            change,
            found.grams,
            report,
            stored=stored,
            revert=found.report,
        )

    def _reject(self, operation: Operation, reason: str) -> None:
        self.commits.reject([Rejection(operation.id, reason)], operation.kind)
