"""Executing claimed operations: compute aside, store the factors, commit once, then serve.

Until the commit nothing has happened; after it, it has: a process that dies in between rebuilds
the committed head at its next start.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

from torch import Tensor

from app.database.database import Database
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.revisions import RevisionKind
from app.errors import RevisionWithdrawn
from app.facts.revert_report import RevertReport
from app.facts.revision_report import RevisionReport
from app.kit.clock import Clock
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.ledger.artefacts import ArtefactStore
from app.metrics.metrics import Metrics, expect
from app.operations import lifecycle as operations
from app.operations import reverts
from app.operations.commit import AddedEdit, NewRevision, commit_revision
from app.operations.origin import note_recipe
from app.operations.repository import UNFINISHED
from app.operations.repository import get as get_operation
from app.operations.revisions import newest as recorded_head
from app.resident.lineage import Change, Lineage
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.worker.effects import EffectGauge
from app.worker.energies import Energies
from app.worker.gates import GATES
from app.worker.headroom import Headroom
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.kept import Kept
from app.worker.lease import Lease
from app.worker.rejections import gated, unsolvable
from app.worker.reverting import Reverter, Undoing
from app.worker.revision_report import report_of_edits, report_of_undoing
from app.worker.solving import SolvedBatch, edit_report, solve_batch
from app.worker.task import Rejection, Task
from editing_core.editor import Editor
from editing_core.errors import EditingError
from editing_core.measures.energy import RowGram
from editing_core.weights.digest import weights_digest

_log = get_logger(__name__)


@dataclass(frozen=True)
class Execution:
    """Turns claimed operations into revisions, or into verdicts.

    Attributes:
        editor: Gives what solves edits, which is there before the first operation is claimed.
        actor: Whom the ledger names as the author of revisions and verdicts.
    """

    database: Database
    lease: Lease
    artefacts: ArtefactStore
    lineage: Lineage
    resident: Resident
    editor: Callable[[], Editor]
    clock: Clock
    actor: str
    snapshots: Snapshots
    intake: Intake
    gauge: EffectGauge
    energies: Energies = field(default_factory=Energies)
    metrics: Metrics = field(default_factory=Metrics)
    interruption: Interruption = field(default_factory=Interruption)
    kept: Kept = field(default_factory=Kept)

    def __post_init__(self) -> None:
        """Show how operations may end, and which gates may fail, before any does."""
        expect(self.metrics.ended, OperationKind, set(OperationStatus) - set(UNFINISHED))
        expect(self.metrics.gates_failed, GATES)

    def follow(self) -> None:
        """Serve what another process has committed, if it has.

        Raises:
            Inconsistent: The ledger's head cannot be rebuilt bit for bit.
        """
        with self.database.read() as session:
            recorded = recorded_head(session)
        if recorded is None or recorded.number == self.lineage.head_state.revision:
            return
        weights = self.lineage.recover()
        self._serve(self.lineage.head_state.revision, weights)

    def execute(self, run: Sequence[Operation]) -> None:
        """Bring each operation to its end: committed, or rejected with a reason.

        May be called again with the same run after an outage; what has ended is left alone.

        Raises:
            Interrupted: It is to stop; what was computed is thrown away.
            LeaseLost: Another process writes now; what was computed here is void.
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
        task, rejected = self.intake.task(ids, self.interruption.check)
        hopeless = self._headroom.rejections(task, self.lineage.head_state.revision)
        self._reject([*rejected, *hopeless])
        task = task.without({found.id for found in hopeless})
        while task.requests:
            task = task.without(self._write_or_reject(task))

    def _write_or_reject(self, task: Task) -> Collection[str]:
        """Solve a task, and end its edits; or only those that fail, and the rest can go on.

        Returns:
            Ids of the edits that have ended.
        """
        ids, together = [request.id for request in task.requests], len(task.requests) > 1
        try:
            batch = self._solve(task)
        except EditingError as error:
            if together and not task.atomic:
                self._write_one_by_one(task)
            else:
                self._reject(unsolvable(task, error, self.resident.tokenizer))
            return ids
        failed = [i for i, found in enumerate(batch.judgements) if found.reason is not None]
        if not failed:
            self._conclude(task, batch)
        elif task.atomic:
            self._reject(gated(batch, range(len(ids))))
        elif together and any(batch.judgements[i].blames_the_batch for i in failed):
            self._write_one_by_one(task)
        else:
            self._reject(gated(batch, failed))
            return [ids[i] for i in failed]
        return ids

    def _solve(self, task: Task) -> SolvedBatch:
        head, beside = self.lineage.head_state.revision, self.intake.beside(task)
        batch = self.kept.batch(head, task, beside)
        if batch is None:
            self.interruption.check()
            batch = solve_batch(
                task,
                beside=beside,
                lineage=self.lineage,
                resident=self.resident,
                editor=self.editor(),
                energies=self.energies,
                gauge=self.gauge,
                values=self.kept.values(head, task, beside),
                between=self.interruption.check,
            )
            self.interruption.check()
            self.kept.keep(head, task, beside, batch)
            self._tell_solved(batch)
        return batch

    def _write_one_by_one(self, task: Task) -> None:
        """Nobody else's edit fails with the one that cannot be solved or does harm."""
        for request in task.requests:
            self._write_edits([request.id])

    def _conclude(self, task: Task, batch: SolvedBatch) -> None:
        if not task.dry_run:
            self._commit_edits(batch)
            return
        with self.lease.writing() as session:
            for index, request in enumerate(batch.requests):
                operations.try_out(
                    session,
                    request.id,
                    now=self.clock(),
                    actor=self.actor,
                    report=edit_report(batch, index).model_dump(mode="json"),
                )
        for request in batch.requests:
            self._tell_ended(request.id, OperationKind.EDIT, OperationStatus.TRIED)

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
            batch.weights.materialise(),
            report_of_edits(batch, self.lineage, self.gauge, self._recipe),
            artefact=artefact,
            added=added,
        )
        after = {layer: gram for layer, (_, gram) in batch.grams.items()}
        self.energies.advance(self.lineage.head_state.revision, after)
        self.metrics.phase_seconds.labels("commit").observe(perf_counter() - started)

    def _undo(self, operation: Operation) -> None:
        if operation.if_head not in (None, self.lineage.head_state.revision):
            self._reject([Rejection(operation.id, "head_moved")], operation.kind)
            return
        try:
            if operation.to_revision is not None:
                self._roll_back(operation.id, operation.to_revision)
            else:
                self._revert(operation)
        except RevisionWithdrawn:  # since the operation was accepted
            self._reject([Rejection(operation.id, "withdrawn")], operation.kind)

    def _roll_back(self, operation_id: str, to_revision: int) -> None:
        self.lineage.require_served(to_revision)
        change = self.lineage.change_to(to_revision)
        matrices = change.weights.materialise()
        grams = {layer: RowGram.of(weight) for layer, weight in matrices.items()}
        report = self._report_of_undoing(change, matrices, grams)
        self._commit(RevisionKind.ROLLBACK, [operation_id], change, matrices, report)
        self.energies.advance(self.lineage.head_state.revision, grams)

    def _revert(self, operation: Operation) -> None:
        target = operation.target_edit
        with self.database.read() as session:
            wanted = reverts.get(session, operation.id)
        if target is None or target not in self.lineage.head_state.live:
            self._reject([Rejection(operation.id, "not_live")], operation.kind)
            return
        found = self._reverter.undo(target, restore=wanted.restore)
        if wanted.dry_run:
            self._end_dry_run(operation, found)
        elif found.report.refused is not None and not wanted.force:
            refused = Rejection(operation.id, found.report.refused, found.report)
            self._reject([refused], operation.kind)
        else:
            self._commit_revert(operation, found)

    def _commit_revert(self, operation: Operation, found: Undoing) -> None:
        change, artefact = found.change, None
        if found.solution is not None:
            artefact = self.artefacts.put(found.solution.delta.to_bytes())
            change = found.placed(artefact)
        report = self._report_of_undoing(change, found.matrices, found.grams)
        self._commit(
            RevisionKind.REVERT,
            [operation.id],
            change,
            found.matrices,
            report,
            artefact=artefact,
            revert=found.report,
        )
        self.energies.advance(self.lineage.head_state.revision, found.grams)

    def _end_dry_run(self, operation: Operation, found: Undoing) -> None:
        with self.lease.writing() as session:
            operations.try_out(
                session,
                operation.id,
                now=self.clock(),
                actor=self.actor,
                report=found.report.model_dump(mode="json"),
            )
        self._tell_ended(operation.id, operation.kind, OperationStatus.TRIED)

    def _report_of_undoing(
        self, change: Change, matrices: Mapping[int, Tensor], grams: Mapping[int, RowGram]
    ) -> RevisionReport:
        return report_of_undoing(change, matrices, grams, self.lineage, self.gauge, self._recipe)

    @property
    def _recipe(self) -> str:
        return self.editor().recipe.digest

    @cached_property
    def _headroom(self) -> Headroom:
        return Headroom(self.database, self.gauge)

    @cached_property
    def _reverter(self) -> Reverter:
        return Reverter(
            self.database,
            self.lineage,
            self.resident,
            self.editor(),
            self.gauge,
            self.intake.limits,
        )

    def _commit(
        self,
        kind: RevisionKind,
        completed: Sequence[str],
        change: Change,
        matrices: Mapping[int, Tensor],
        report: RevisionReport,
        *,
        artefact: str | None = None,
        added: Sequence[AddedEdit] = (),
        revert: RevertReport | None = None,
    ) -> None:
        """The commit point, and what follows from it: the head moves here and for readers."""
        new = NewRevision(
            kind=kind,
            parent=self.lineage.head_state.revision,
            operations=completed,
            weights_digest=weights_digest(matrices),
            artefact_digest=artefact,
            added=added,
            restored=change.restored,
            removed=change.removed,
            factors=change.factors,
            report=report.model_dump(mode="json"),
            revert=None if revert is None else revert.model_dump(mode="json"),
        )
        with self.lease.writing() as session:
            note_recipe(session, report.recipe_digest, actor=self.actor, now=self.clock())
            revision = commit_revision(session, new, actor=self.actor, now=self.clock()).number
        failpoint(Failpoint.COMMITTED)
        self._serve(revision, matrices)  # first: clients see the edit as committed
        failpoint(Failpoint.PUBLISHED)
        self.lineage.advance(revision, change.weights)
        self.kept.clear()
        failpoint(Failpoint.ADVANCED)
        for id in completed:
            self._tell_ended(id, OperationKind(kind.value), OperationStatus.COMMITTED, revision)
        self.snapshots.take_if_due(revision, change.weights)

    def _serve(self, revision: int, weights: Mapping[int, Tensor]) -> None:
        """Make a committed revision what readers get: the one place that does."""
        self.resident.publish(revision, weights)
        self.metrics.served_revision.set(revision)

    def _reject(
        self, rejected: Sequence[Rejection], kind: OperationKind = OperationKind.EDIT
    ) -> None:
        """End operations without a revision, all in one transaction."""
        if not rejected:
            return
        with self.lease.writing() as session:
            for found in rejected:
                report = found.report
                operations.reject(
                    session,
                    found.id,
                    found.reason,
                    now=self.clock(),
                    actor=self.actor,
                    report=None if report is None else report.model_dump(mode="json"),
                )
        for found in rejected:
            # The code alone: the sentence may quote, and a log cannot be erased.
            self._tell_ended(found.id, kind, OperationStatus.REJECTED, reason=found.reason)
            gates = () if found.report is None else found.report.gates
            for gate in (gate for gate in gates if not gate.passed):
                self.metrics.gates_failed.labels(gate.name).inc()

    def _tell_solved(self, batch: SolvedBatch) -> None:
        seconds = edit_report(batch, 0).seconds
        if seconds is not None:
            self.metrics.solved(seconds)

    def _tell_ended(
        self,
        operation_id: str,
        kind: OperationKind,
        status: OperationStatus,
        revision: int | None = None,
        *,
        reason: str | None = None,
    ) -> None:
        self.metrics.ended.labels(kind.value, status.value).inc()
        known = {"revision": revision, "reason": reason}
        _log.info(
            "operation_ended",
            operation_id=operation_id,
            kind=kind.value,
            status=status.value,
            **{name: value for name, value in known.items() if value is not None},
        )
