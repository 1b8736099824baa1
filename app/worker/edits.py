"""Edits that were claimed: solved together, and those that fail told apart from the others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from app.database.tables.operations import OperationKind
from app.operations.commit import AddedEdit
from app.worker.commits import Commits
from app.worker.effects import EffectGauge
from app.worker.headroom import Headroom
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.kept import Kept
from app.worker.rejections import gated, unsolvable
from app.worker.revision_report import report_of_edits
from app.worker.solving import SolvedBatch, Solver, edit_report
from app.worker.task import Task
from editing_core.errors import EditingError


@dataclass(frozen=True)
class Edits:
    """Turns claimed edits into revisions, or into verdicts."""

    commits: Commits
    intake: Intake
    headroom: Headroom
    solver: Solver
    gauge: EffectGauge
    interruption: Interruption
    kept: Kept = field(default_factory=Kept)

    def write(self, ids: Sequence[str]) -> None:
        """Bring each edit to its end.

        Raises:
            Interrupted: It is to stop; what was computed is thrown away.
        """
        task, rejected = self.intake.task(ids, self.interruption.check)
        hopeless = self.headroom.rejections(task, self._head)
        self.commits.reject([*rejected, *hopeless])
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
                tokenizer = self.commits.resident.tokenizer
                self.commits.reject(unsolvable(task, error, tokenizer))
            return ids
        failed = [i for i, found in enumerate(batch.judgements) if found.reason is not None]
        if not failed:
            self._conclude(task, batch)
        elif task.atomic:
            self.commits.reject(gated(batch, range(len(ids))))
        elif together and any(batch.judgements[i].blames_the_batch for i in failed):
            self._write_one_by_one(task)
        else:
            self.commits.reject(gated(batch, failed))
            return [ids[i] for i in failed]
        return ids

    def _write_one_by_one(self, task: Task) -> None:
        """Solve each edit alone, so that only the edit at fault is rejected."""
        for request in task.requests:
            self.write([request.id])

    def _solve(self, task: Task) -> SolvedBatch:
        head, beside = self._head, self.intake.beside(task)
        batch = self.kept.batch(head, task, beside)
        if batch is None:
            self.interruption.check()
            batch = self.solver.solve(task, beside, self.kept.values(head, task, beside))
            self.interruption.check()
            self.kept.keep(head, task, beside, batch)
            seconds = edit_report(batch, 0).seconds
            if seconds is not None:
                self.commits.metrics.solved(seconds)
        return batch

    def _conclude(self, task: Task, batch: SolvedBatch) -> None:
        if task.dry_run:
            tried = {found.id: edit_report(batch, i) for i, found in enumerate(batch.requests)}
            self.commits.try_out(tried, OperationKind.EDIT)
        else:
            self._commit(batch)

    def _commit(self, batch: SolvedBatch) -> None:
        started = perf_counter()
        stored = self.commits.store(batch.solution.delta)
        seconds = perf_counter() - started
        added = [
            AddedEdit(
                edit_id=request.id,
                artefact_index=index,
                report=edit_report(batch, index, seconds).model_dump(mode="json"),
                supersedes=request.supersedes,
            )
            for index, request in enumerate(batch.requests)
        ]
        self.commits.make_revision(
            OperationKind.EDIT,
            [request.id for request in batch.requests],
            batch.change,
            {layer: after for layer, (_, after) in batch.grams.items()},
            report_of_edits(batch, self.commits.lineage, self.gauge, self.commits.recipe),
            stored=stored,
            added=added,
        )
        self.kept.clear()
        self.commits.metrics.phase_seconds.labels("commit").observe(perf_counter() - started)

    @property
    def _head(self) -> int:
        return self.commits.lineage.head_state.revision
