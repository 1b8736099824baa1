"""Start of the resident model and its worker: the ledger's head, verified, then the queue.

What is asked needs the model alone. Edits also need its key statistics, which take minutes at a
first start; so the head is served before they are there, and accepted edits wait for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.tables.labels import Snapshot
from app.facts.gate_limits import Limits
from app.kit.clock import Clock
from app.kit.disk import DiskSpace
from app.kit.logs import get_logger
from app.kit.preparing import Preparation
from app.kit.process import ProcessId
from app.ledger.artefacts import ArtefactStore
from app.ledger.mark import Marks
from app.metrics.metrics import Metrics
from app.operations.commit import EditedMatrices, record_base, require_base
from app.operations.label_limits import LabelLimits
from app.operations.once import Once
from app.operations.origin import Origin
from app.operations.revisions import newest
from app.queue.doorbell import Doorbell
from app.resident.lineage import Lineage
from app.resident.opening import Opened, open_model
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.settings import Settings
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.lease import Lease
from app.worker.loop import Worker
from app.worker.revision_report import report_of_base
from app.worker.sweeping import sweep
from editing_core.editor import Editor
from editing_core.giving_way import GiveWay, go_on
from editing_core.progress import Progress
from editing_core.weights.digest import weights_digest

ACTOR = "worker"
AT_ONCE = 4e11
"""Multiplications to prepare edits that a start waits for: a few seconds of a core."""

_log = get_logger(__name__)


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
    _check_origin(database, opened)
    interruption, may_write = Interruption(give_way), settings.worker == "embedded"
    preparation = _preparation(
        database, opened, clock, give_way, progress, interruption, at_once=at_once
    )
    if may_write and opened.work <= at_once:
        preparation.make_now()
    snapshots = _snapshots(settings, database, opened, clock)
    lease = Lease(database, silence_s=settings.lease_s, process=ProcessId.own(), watch=interruption)

    def sweep_files() -> None:
        """Holding the lease excludes other commits, so what is swept belongs to none."""
        sweep(database, artefacts, snapshots, Marks(settings.data_dir), clock().date())

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

    def contexts() -> Sequence[str]:
        return preparation.get().recipe.all_contexts

    counted = metrics or Metrics()
    counted.served_revision.set(resident.head)
    execution = Execution(
        database=database,
        lease=lease,
        artefacts=artefacts,
        lineage=lineage,
        resident=resident,
        editor=preparation.get,
        clock=clock,
        actor=ACTOR,
        snapshots=snapshots,
        intake=Intake(database, resident, Limits.of(settings), contexts),
        gauge=EffectGauge(
            lineage,
            resident,
            earlier_sample=settings.gate_earlier_sample,
            perplexity_tokens=settings.gate_perplexity_tokens,
            conversation=opened.conversation,
            ordinary=opened.text,
        ),
        metrics=counted,
        interruption=interruption,
    )
    worker = Worker(
        database,
        lease if may_write else None,
        doorbell,
        execution,
        batch_size=settings.batch_size,
        poll_s=settings.queue_poll_s,
        clock=clock,
        actor=ACTOR,
        interruption=interruption,
        when_taken=sweep_files,
        is_prepared=lambda: preparation.is_ready,
    )
    worker.start()
    if may_write and not preparation.is_ready:
        preparation.start()
    return Runtime(
        resident,
        worker,
        lineage,
        snapshots,
        opened,
        preparation if may_write else None,
    )


def _preparation(
    database: Database,
    opened: Opened,
    clock: Clock,
    give_way: GiveWay,
    progress: Progress,
    interruption: Interruption,
    *,
    at_once: float,
) -> Preparation[Editor]:
    """What makes the editor; in the background it has a tokenizer of its own."""
    own = opened if opened.work <= at_once else opened.apart()

    def make(told: Progress) -> Editor:
        prepared = own.prepare(told)
        _record_base(database, own, prepared.recipe.digest, clock)
        return prepared.editor(interruption.step)

    return Preparation(make, give_way=give_way, progress=progress)


def _check_origin(database: Database, opened: Opened) -> None:
    """Go on with the model that the revisions start from; say it where the recipe is another.

    Raises:
        BaseMismatch: It is another model, or other matrices are edited.
    """
    if opened.origin is None:
        return
    own = None if opened.recipe is None else opened.recipe.digest
    by = opened.origin.recipe
    if own not in (None, by):
        worker = opened.settings.worker
        _log.warning("recipe_differs", recipe=own, revisions_by=by, worker=worker)
    with database.read() as session:
        _require_base(session, opened)


def _snapshots(settings: Settings, database: Database, opened: Opened, clock: Clock) -> Snapshots:
    return Snapshots(
        database,
        ArtefactStore(settings.data_dir / "snapshots"),
        opened.weights,
        every=settings.snapshot_every,
        kept=settings.snapshots_kept,
        clock=clock,
        labels=LabelLimits(
            settings.max_labels,
            settings.max_labels_bytes,
            DiskSpace(settings.data_dir, settings.min_free_bytes),
        ),
    )


def _record_base(database: Database, opened: Opened, recipe: str, clock: Clock) -> None:
    """Record revision 0, if it is not: with the recipe that the first edits are computed by."""
    with database.read() as session:
        if newest(session) is not None:
            _require_base(session, opened)
            return
    base, tokens = opened.base, opened.settings.gate_perplexity_tokens
    report = report_of_base(base.model, base.tokenizer, opened.weights, tokens, recipe)
    with database.write() as session:
        record_base(
            session,
            model=base.name,
            model_digest=base.digest,
            recipe_digest=recipe,
            weights_digest=weights_digest(opened.weights),
            actor=ACTOR,
            now=clock(),
            matrices=EditedMatrices(
                opened.layers,
                base.architecture.site,
                str(base.model.dtype).removeprefix("torch."),
            ),
            report=report.model_dump(mode="json"),
        )


def _require_base(session: Session, opened: Opened) -> None:
    require_base(
        session,
        model=opened.base.name,
        model_digest=opened.base.digest,
        weights_digest=weights_digest(opened.weights),
    )
