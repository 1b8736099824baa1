"""The HTTP service without a model: everything but the queries answers."""

from app.database.database import Database
from app.main import Components
from app.queue.doorbell import Doorbell
from app.revisions.artefacts import ArtefactStore
from app.serving import Runtime
from app.settings import Settings


class NoModelError(RuntimeError):
    """Why this service never becomes ready."""


def load_nothing(
    settings: Settings, database: Database, doorbell: Doorbell, artefacts: ArtefactStore
) -> Runtime:
    """Stands for a model that cannot be loaded."""
    del settings, database, doorbell, artefacts
    raise NoModelError("this test has none")


WITHOUT_MODEL = Components(start_runtime=load_nothing)
