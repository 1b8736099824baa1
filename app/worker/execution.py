"""Executing claimed operations, whatever their kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.database.database import Database
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.metrics.metrics import Metrics, expect
from app.operations.repository import UNFINISHED
from app.operations.repository import get as get_operation
from app.operations.revisions import newest as recorded_head
from app.worker.commits import Commits
from app.worker.edits import Edits
from app.worker.effects import EffectGauge
from app.worker.gates import GATES
from app.worker.headroom import Headroom
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.reverting import Reverter
from app.worker.solving import Solver
from app.worker.undo import Undo


@dataclass(frozen=True)
class Execution:
    """Turns claimed operations into revisions, or into verdicts."""

    database: Database
    commits: Commits
    intake: Intake
    gauge: EffectGauge
    interruption: Interruption = field(default_factory=Interruption)

    def __post_init__(self) -> None:
        """Show how operations may end, and which gates may fail, before any does."""
        expect(self.metrics.ended, OperationKind, set(OperationStatus) - set(UNFINISHED))
        expect(self.metrics.gates_failed, GATES)

    @property
    def metrics(self) -> Metrics:
        """Told of what is executed."""
        return self.commits.metrics

    @cached_property
    def _edits(self) -> Edits:
        commits, gauge, headroom = self.commits, self.gauge, Headroom(self.database, self.gauge)
        head = (commits.lineage, commits.resident, commits.editor, commits.energies)
        solver = Solver(*head, gauge, self.interruption.check)
        return Edits(commits, self.intake, headroom, solver, gauge, self.interruption)

    @cached_property
    def _undo(self) -> Undo:
        commits, gauge, limits = self.commits, self.gauge, self.intake.limits
        head = (commits.lineage, commits.resident, commits.editor)
        reverter = Reverter(self.database, *head, gauge, limits)
        return Undo(self.database, commits, reverter, gauge)

    def follow(self) -> None:
        """Serve what another process has committed, if it has.

        Raises:
            Inconsistent: The ledger's head cannot be rebuilt bit for bit.
        """
        lineage = self.commits.lineage
        with self.database.read() as session:
            recorded = recorded_head(session)
        if recorded is None or recorded.number == lineage.head_state.revision:
            return
        matrices = lineage.recover()
        self.commits.serve(lineage.head_state.revision, matrices)

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
            self._edits.write([operation.id for operation in waiting])
        else:
            self._undo.undo(waiting[0])
