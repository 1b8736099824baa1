"""Start of the resident model and its worker: the ledger's head, verified, then the queue."""

from dataclasses import dataclass

from app.clock import Clock
from app.database.base import JsonObject
from app.database.database import Database
from app.disk import DiskSpace
from app.edits.limits import Limits
from app.idempotency.once import Once
from app.ledger.mark import Marks
from app.observability.logs import get_logger
from app.observability.metrics import Metrics
from app.queue.doorbell import Doorbell
from app.resident.history import History
from app.resident.preparation import Prepared, prepare
from app.resident.resident import Resident
from app.resident.snapshots import Snapshots
from app.revisions.artefacts import ArtefactStore
from app.revisions.origin import Origin
from app.revisions.repository import head
from app.revisions.service import EditedMatrices, record_base
from app.settings import Settings
from app.snapshots.limits import LabelLimits
from app.snapshots.models import Snapshot
from app.worker.drifting import report_of_base
from app.worker.effects import EffectGauge
from app.worker.execution import Execution
from app.worker.intake import Intake
from app.worker.interruption import Interruption
from app.worker.lease import Lease
from app.worker.process import ProcessId
from app.worker.sweeping import sweep
from app.worker.worker import Worker
from editing_core.digest import weights_digest
from editing_core.edit import SLOT
from editing_core.giving_way import GiveWay, go_on
from editing_core.progress import Progress

ACTOR = "worker"

_log = get_logger(__name__)


@dataclass(frozen=True)
class Runtime:
    """The resident model at the ledger's head, and the worker that edits it.

    Attributes:
        contexts: The texts that edits are written in, with `{}` for the prompt.
    """

    resident: Resident
    worker: Worker
    history: History
    snapshots: Snapshots
    contexts: tuple[str, ...] = (SLOT,)

    def take_snapshot(self, revision: int, label: str, once: Once) -> tuple[Snapshot, bool]:
        """Store a revision under a label; whether that is new.

        Raises:
            LabelTaken: The label is another revision's.
            StorageUnavailable: The disk did not take the file.
        """
        return self.snapshots.label(revision, label, self.history.weights, once)

    def stop(self, timeout_s: float) -> None:
        """End the worker after the operation it is in, which is left behind after `timeout_s`."""
        self.worker.stop(timeout_s)


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
) -> Runtime:
    """Load the model, rebuild and verify the head, and begin to work off the queue.

    Raises:
        EditingError: The model cannot be loaded or edited.
        BaseMismatch: The database belongs to another model.
        RecipeMismatch: The recipe in use is for another model, text or layers than those set.
        UnusableRecipe: A recipe's file is damaged.
        Inconsistent: The head cannot be rebuilt bit for bit.
    """
    with database.read() as session:
        origin = Origin.of(session)
    prepared = prepare(settings, progress, origin)
    _tell_of_recipe(prepared, origin, settings.worker)
    _record_base(database, prepared, clock, settings.gate_perplexity_tokens)
    snapshots = _snapshots(settings, database, prepared, clock)
    interruption = Interruption(give_way)
    lease = Lease(database, silence_s=settings.lease_s, process=ProcessId.own(), watch=interruption)
    may_write = settings.worker == "embedded"

    def sweep_files() -> None:
        """Nobody else can commit while the lease is ours, so nobody needs what is swept."""
        sweep(database, artefacts, snapshots, Marks(settings.data_dir), clock().date())

    if may_write and lease.acquire():
        sweep_files()
    history = History(database, artefacts, prepared.weights, snapshots)
    weights = history.recover()
    resident = Resident(
        prepared.base,
        history.materialise,
        revision=history.head.revision,
        weights=weights,
        require_served=history.require_served,
    )
    contexts, counted = prepared.recipe.all_contexts, metrics or Metrics()
    counted.served_revision.set(resident.head)
    execution = Execution(
        database=database,
        lease=lease,
        artefacts=artefacts,
        history=history,
        resident=resident,
        editor=prepared.editor(interruption.step),
        clock=clock,
        actor=ACTOR,
        snapshots=snapshots,
        intake=Intake(database, resident, Limits.of(settings), contexts),
        gauge=EffectGauge(
            history,
            resident,
            earlier_sample=settings.gate_earlier_sample,
            perplexity_tokens=settings.gate_perplexity_tokens,
            conversation=prepared.conversation,
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
    )
    worker.start()
    return Runtime(resident, worker, history, snapshots, contexts)


def _tell_of_recipe(prepared: Prepared, origin: Origin | None, worker: str) -> None:
    """Say it where revisions were computed by another recipe than this process would use."""
    own = prepared.recipe.digest
    if origin is not None and origin.recipe not in (None, own):
        _log.warning("recipe_differs", recipe=own, revisions_by=origin.recipe, worker=worker)


def _snapshots(
    settings: Settings, database: Database, prepared: Prepared, clock: Clock
) -> Snapshots:
    return Snapshots(
        database,
        ArtefactStore(settings.data_dir / "snapshots"),
        prepared.weights,
        every=settings.snapshot_every,
        kept=settings.snapshots_kept,
        clock=clock,
        labels=LabelLimits(
            settings.max_labels,
            settings.max_labels_bytes,
            DiskSpace(settings.data_dir, settings.min_free_bytes),
        ),
    )


def _record_base(database: Database, prepared: Prepared, clock: Clock, tokens: int) -> None:
    dtype = str(prepared.base.model.dtype).removeprefix("torch.")
    site = prepared.base.architecture.site
    report = _report_of_new_base(database, prepared, tokens)
    with database.write() as session:
        record_base(
            session,
            model=prepared.base.name,
            model_digest=prepared.base.digest,
            recipe_digest=prepared.recipe.digest,
            weights_digest=weights_digest(prepared.weights),
            actor=ACTOR,
            now=clock(),
            matrices=EditedMatrices(prepared.recipe.layers, site, dtype),
            report=report,
        )


def _report_of_new_base(database: Database, prepared: Prepared, tokens: int) -> JsonObject | None:
    """What is stored with revision 0; None where it is there already, and stays as it is."""
    with database.read() as session:
        if head(session) is not None:
            return None
    model, tokenizer = prepared.base.model, prepared.base.tokenizer
    report = report_of_base(model, tokenizer, prepared.weights, tokens)
    by = {"recipe_digest": prepared.recipe.digest}
    return report.model_copy(update=by).model_dump(mode="json")
