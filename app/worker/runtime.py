"""Start of the resident model and its worker: the ledger's head, verified, then the queue."""

from dataclasses import dataclass

from app.clock import Clock
from app.database.database import Database
from app.queue.doorbell import Doorbell
from app.resident.history import History
from app.resident.preparation import Prepared, prepare
from app.resident.resident import Resident
from app.revisions.artefacts import ArtefactStore
from app.revisions.service import EditedMatrices, record_base
from app.settings import Settings
from app.worker.execution import Execution
from app.worker.worker import Worker
from editing_core.digest import weights_digest
from editing_core.progress import Progress

ACTOR = "worker"


@dataclass(frozen=True)
class Runtime:
    """The resident model at the ledger's head, and the worker that edits it."""

    resident: Resident
    worker: Worker

    def stop(self) -> None:
        """End the worker after the operation it is in."""
        self.worker.stop()


def start(
    settings: Settings,
    database: Database,
    doorbell: Doorbell,
    artefacts: ArtefactStore,
    *,
    clock: Clock,
    progress: Progress,
) -> Runtime:
    """Load the model, rebuild and verify the head, and begin to work off the queue.

    Raises:
        EditingError: The model cannot be loaded or edited.
        BaseMismatch: The database belongs to another model.
        Inconsistent: The head cannot be rebuilt bit for bit.
    """
    prepared = prepare(settings, progress)
    _record_base(database, prepared, clock)
    history = History(database, artefacts, prepared.weights)
    weights = history.recover()
    resident = Resident(
        prepared.base, history.materialise, revision=history.head.revision, weights=weights
    )
    execution = Execution(
        database=database,
        artefacts=artefacts,
        history=history,
        resident=resident,
        editor=prepared.editor(),
        clock=clock,
        actor=ACTOR,
    )
    worker = Worker(
        database,
        doorbell,
        execution,
        batch_size=settings.batch_size,
        poll_s=settings.queue_poll_s,
        clock=clock,
        actor=ACTOR,
    )
    worker.start()
    return Runtime(resident, worker)


def _record_base(database: Database, prepared: Prepared, clock: Clock) -> None:
    dtype = str(prepared.base.model.dtype).removeprefix("torch.")
    site = prepared.base.architecture.site
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
        )
