"""The weights of every revision, from the ledger and the factors alone."""

from app.database.database import Database
from app.resident.history import History
from app.revisions.artefacts import ArtefactStore
from app.settings import Settings
from editing_core.model.loading import load_model
from editing_core.preparation import default_layers


def check_weights(settings: Settings) -> None:
    """Fail unless every revision, built from base and factors, has its recorded digest."""
    model = load_model(settings.model, cache_dir=settings.cache_dir)
    base = {
        layer: model.architecture.weight_of(model.model, layer) for layer in default_layers(model)
    }
    database = Database(settings.database_url)
    history = History(database, ArtefactStore(settings.data_dir / "artefacts"), base)
    history.recover()
    for revision in range(history.head.revision + 1):
        history.materialise(revision)
    database.close()
