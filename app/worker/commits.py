"""The end of an operation: a revision, served at once, or a verdict that changes nothing.

Until the commit nothing has happened; after it, it has: a process that dies in between rebuilds
the committed head at its next start.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from torch import Tensor

from app.database.tables.operations import OperationKind, OperationStatus
from app.facts.revert_report import RevertReport
from app.facts.revision_report import RevisionReport
from app.kit.canonical import JsonObject
from app.kit.clock import Clock
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.ledger.artefacts import ArtefactStore
from app.metrics.metrics import Metrics
from app.operations import lifecycle as operations
from app.operations.commit import AddedEdit, NewRevision, commit_revision
from app.operations.origin import note_recipe
from app.resident.lineage import Change, Lineage
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.worker.energies import Energies
from app.worker.lease import Lease
from app.worker.task import Rejection
from editing_core.editor import Editor
from editing_core.measures.energy import RowGram
from editing_core.weights.delta import Delta

_log = get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """Factors that are on disk, for a revision to name.

    Attributes:
        artefact: Digest of their file.
        delta: The same in memory.
    """

    artefact: str
    delta: Delta


@dataclass(frozen=True)
class Commits:
    """Ends operations under the lease; moves the head, here and for readers.

    Attributes:
        editor: Gives what solves edits, which is there before the first operation is claimed.
        actor: Whom the ledger names as the author of revisions and verdicts.
        energies: Those of the head.
    """

    lease: Lease
    artefacts: ArtefactStore
    lineage: Lineage
    resident: Resident
    snapshots: Snapshots
    editor: Callable[[], Editor]
    clock: Clock
    actor: str
    metrics: Metrics = field(default_factory=Metrics)
    energies: Energies = field(default_factory=Energies)

    @property
    def recipe(self) -> str:
        """Digest of the recipe that edits are computed by."""
        return self.editor().recipe.digest

    def store(self, delta: Delta) -> Stored:
        """Write factors to disk; without a commit that names them, they are an orphan.

        Raises:
            OSError: The disk did not take them.
        """
        return Stored(self.artefacts.put(delta.to_bytes()), delta)

    def make_revision(
        self,
        kind: OperationKind,
        completed: Sequence[str],
        change: Change,
        grams: Mapping[int, RowGram],
        report: RevisionReport,
        *,
        stored: Stored | None = None,
        added: Sequence[AddedEdit] = (),
        revert: RevertReport | None = None,
    ) -> None:
        """The commit point, and what follows from it: the head moves here and for readers."""
        new = NewRevision(
            kind=kind,
            parent=self.lineage.head_state.revision,
            operations=completed,
            weights_digest=change.edited.digest,
            artefact_digest=None if stored is None else stored.artefact,
            added=added,
            restored=change.restored,
            removed=change.removed,
            factors=change.factors,
            report=report.model_dump(mode="json"),
            revert=None if revert is None else revert.model_dump(mode="json"),
        )
        with self.lease.writing() as session:
            note_recipe(session, report.recipe_digest, actor=self.actor, now=self.clock())
            made = commit_revision(session, new, actor=self.actor, now=self.clock())
        number = made.revision.number
        failpoint(Failpoint.COMMITTED)
        self.serve(number, change.edited.matrices)  # first: clients see the edit as committed
        failpoint(Failpoint.PUBLISHED)
        delta = None if stored is None else stored.delta
        self.lineage.advance(made, change, delta)
        self.energies.advance(number, grams)
        failpoint(Failpoint.ADVANCED)
        for id in completed:
            self._tell_ended(id, kind, OperationStatus.COMMITTED, revision=number)
        self.snapshots.take_if_due(number, change.edited.weights)

    def serve(self, revision: int, matrices: Mapping[int, Tensor]) -> None:
        """Make a committed revision what readers get: the one place that does."""
        self.resident.publish(revision, matrices)
        self.metrics.served_revision.set(revision)

    def reject(
        self, rejected: Sequence[Rejection], kind: OperationKind = OperationKind.EDIT
    ) -> None:
        """End operations without a revision, all in one transaction."""
        if not rejected:
            return
        with self.lease.writing() as session:
            for found in rejected:
                operations.reject(
                    session,
                    found.id,
                    found.reason,
                    now=self.clock(),
                    actor=self.actor,
                    report=_json(found.report),
                )
        for found in rejected:
            # The code alone: the sentence may quote, and a log cannot be erased.
            self._tell_ended(found.id, kind, OperationStatus.REJECTED, reason=found.reason)
            gates = () if found.report is None else found.report.gates
            for gate in (gate for gate in gates if not gate.passed):
                self.metrics.gates_failed.labels(gate.name).inc()

    def try_out(self, tried: Mapping[str, BaseModel], kind: OperationKind) -> None:
        """End dry runs that would have been committed: operation id → what was measured."""
        with self.lease.writing() as session:
            for id, report in tried.items():
                operations.try_out(
                    session,
                    id,
                    now=self.clock(),
                    actor=self.actor,
                    report=report.model_dump(mode="json"),
                )
        for id in tried:
            self._tell_ended(id, kind, OperationStatus.TRIED)

    def _tell_ended(
        self,
        operation_id: str,
        kind: OperationKind,
        status: OperationStatus,
        *,
        revision: int | None = None,
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


def _json(report: BaseModel | None) -> JsonObject | None:
    return None if report is None else report.model_dump(mode="json")
