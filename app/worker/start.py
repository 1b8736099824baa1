"""Start of the resident model and its worker: the ledger's head, verified, then the queue.

What is asked needs the model alone. Edits also need its key statistics, which take minutes at a
first start; so the head is served before they are there, and accepted edits wait for them.
"""

from dataclasses import dataclass
from time import monotonic

from app.database.database import Database
from app.database.tables.labels import Snapshot
from app.facts.gate_limits import Limits
from app.kit.clock import Clock
from app.kit.disk import DiskSpace
from app.kit.preparing import Preparation
from app.kit.process import ProcessId
from app.ledger.artefacts import ArtefactStore
from app.ledger.mark import Marks
from app.metrics.metrics import Metrics
from app.operations.label_limits import LabelLimits
from app.operations.once import Once
from app.operations.origin import Origin
from app.queue.doorbell import Doorbell
from app.resident.lineage import Lineage
from app.resident.opening import Opened, open_model
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.settings import Settings
from app.worker import base
from app.worker.commits import Commits
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.lease import Lease
from app.worker.loop import Worker
from app.worker.sweeping import sweep
from editing_core.editor import Editor
from editing_core.giving_way import GiveWay, go_on
from editing_core.progress import Progress

ACTOR = "worker"
AT_ONCE = 4e11
"""Multiplications to prepare edits that a start waits for: a few seconds of a core."""


@dataclass(frozen=True)
class Runtime:
    """The resident model at the ledger's head, and the worker that edits it.

    Attributes:
        preparation: Of what edits need; None where another process computes them.
    """

    resident: Resident
    worker: Worker
    lineage: Lineage
    snapshots: Snapshots
    opened: Opened
    preparation: Preparation[Editor] | None

    @property
    def contexts(self) -> tuple[str, ...]:
        """The texts that edits are written in, with `{}` for the prompt, as far as known yet."""
        if self.preparation is not None and self.preparation.is_ready:
            return self.preparation.get().recipe.all_contexts
        return self.opened.contexts

    def take_snapshot(self, revision: int, label: str, once: Once) -> tuple[Snapshot, bool]:
        """Store a revision under a label; whether that is new.

        Raises:
            LabelTaken: The label is another revision's.
            StorageUnavailable: The disk did not take the file.
        """
        return self.snapshots.label(revision, label, self.lineage.weights, once)

    def stop(self, timeout_s: float) -> None:
        """End the worker after the operation it is in, which is left behind after `timeout_s`."""
        until = monotonic() + timeout_s
        if self.preparation is not None:
            self.preparation.stop()
        self.worker.stop(timeout_s)
        if self.preparation is not None:
            self.preparation.join(max(0.0, until - monotonic()))


def start(
    settings: Settings,
    database: Database,
    doorbell: Doorbell,
    artefacts: ArtefactStore,
    *,
    clock: Clock,
    progress: Progress,
    give_way: GiveWay = go_on,
    metrics: Metrics | None = None,
    at_once: float = AT_ONCE,
) -> Runtime:
    """Load the model, rebuild and verify the head, and begin to work off the queue.

    Where it takes more multiplications than ``at_once`` to prepare edits, that is done in the
    background.

    Raises:
        EditingError: The model cannot be loaded or edited.
        BaseMismatch: The database belongs to another model.
        RecipeMismatch: The recipe in use is for another model, text or layers than those set.
        UnusableRecipe: A recipe's file is damaged.
        Inconsistent: The head cannot be rebuilt bit for bit.
    """
    with database.read() as session:
        origin = Origin.of(session)
    opened = open_model(settings, progress, origin)
    base.check_origin(database, opened)
    site = _Site(
        settings, database, artefacts, opened, clock, metrics or Metrics(), Interruption(give_way)
    )
    may_write = settings.worker == "embedded"
    preparation = site.preparation(give_way, progress, at_once)
    if may_write and opened.work <= at_once:
        preparation.make_now()
    snapshots = site.snapshots()
    lineage = Lineage(database, artefacts, opened.weights, snapshots)
    # Before the first start has prepared edits, there is no revision 0 but the model itself.
    weights = lineage.recover() if origin or preparation.is_ready else opened.weights
    resident = Resident(
        opened.base,
        lineage.materialise,
        revision=lineage.head_state.revision,
        weights=weights,
        require_served=lineage.require_served,
    )
    site.metrics.served_revision.set(resident.head)
    lease = site.lease()
    worker = Worker(
        database,
        lease if may_write else None,
        doorbell,
        site.execution(lease, lineage, resident, snapshots, preparation),
        batch_size=settings.batch_size,
        poll_s=settings.queue_poll_s,
        clock=clock,
        actor=ACTOR,
        interruption=site.interruption,
        when_taken=lambda: site.sweep(snapshots),
        is_prepared=lambda: preparation.is_ready,
    )
    worker.start()
    if may_write and not preparation.is_ready:
        preparation.start()
    return Runtime(resident, worker, lineage, snapshots, opened, preparation if may_write else None)


@dataclass(frozen=True)
class _Site:
    """What the parts of the worker are made from."""

    settings: Settings
    database: Database
    artefacts: ArtefactStore
    opened: Opened
    clock: Clock
    metrics: Metrics
    interruption: Interruption

    def preparation(
        self, give_way: GiveWay, progress: Progress, at_once: float
    ) -> Preparation[Editor]:
        """What makes the editor; in the background it has a tokenizer of its own."""
        own = self.opened if self.opened.work <= at_once else self.opened.apart()

        def make(told: Progress) -> Editor:
            prepared = own.prepare(told)
            base.record(self.database, own, prepared.recipe.digest, self.clock, ACTOR)
            return prepared.editor(self.interruption.step)

        return Preparation(make, give_way=give_way, progress=progress)

    def snapshots(self) -> Snapshots:
        """The cache of whole revisions."""
        settings = self.settings
        return Snapshots(
            self.database,
            ArtefactStore(settings.data_dir / "snapshots"),
            self.opened.weights,
            every=settings.snapshot_every,
            kept=settings.snapshots_kept,
            clock=self.clock,
            labels=LabelLimits(
                settings.max_labels,
                settings.max_labels_bytes,
                DiskSpace(settings.data_dir, settings.min_free_bytes),
            ),
        )

    def lease(self) -> Lease:
        """This process's claim to write."""
        silence_s, process = self.settings.lease_s, ProcessId.own()
        return Lease(self.database, silence_s=silence_s, process=process, watch=self.interruption)

    def sweep(self, snapshots: Snapshots) -> None:
        """Holding the lease excludes other commits, so what is swept belongs to none."""
        marks, today = Marks(self.settings.data_dir), self.clock().date()
        sweep(self.database, self.artefacts, snapshots, marks, today)

    def execution(
        self,
        lease: Lease,
        lineage: Lineage,
        resident: Resident,
        snapshots: Snapshots,
        preparation: Preparation[Editor],
    ) -> Execution:
        """What the worker does with operations."""
        editor, limits = preparation.get, Limits.of(self.settings)
        gauge = EffectGauge(
            lineage,
            resident,
            earlier_sample=self.settings.gate_earlier_sample,
            perplexity_tokens=self.settings.gate_perplexity_tokens,
            conversation=self.opened.conversation,
            ordinary=self.opened.text,
        )
        commits = Commits(
            lease=lease,
            artefacts=self.artefacts,
            lineage=lineage,
            resident=resident,
            snapshots=snapshots,
            editor=editor,
            clock=self.clock,
            actor=ACTOR,
            metrics=self.metrics,
        )
        intake = Intake(self.database, resident, limits, lambda: editor().recipe.all_contexts)
        return Execution(self.database, commits, intake, gauge, self.interruption)
