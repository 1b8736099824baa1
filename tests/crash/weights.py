"""The weights of every revision, from the ledger's live edits and their factors alone."""

from collections import defaultdict

from app.database.database import Database
from app.ledger.artefacts import ArtefactStore
from app.operations import revisions
from app.operations.live import live_edits
from app.settings import Settings
from editing_core.defaults import default_layers
from editing_core.model.loading import load_model
from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import weights_digest


def check_weights(settings: Settings) -> None:
    """Fail unless every revision, built from base and factors, has its recorded digest."""
    model = load_model(settings.model, cache_dir=settings.cache_dir)
    weight_of = model.architecture.weight_of
    base = Weights({layer: weight_of(model.model, layer) for layer in default_layers(model)})
    artefacts = ArtefactStore(settings.data_dir / "artefacts")
    database = Database(settings.database_url)
    with database.read() as session:
        for revision in revisions.page(session, after=None, limit=10_000):
            rows = defaultdict[str, list[int]](list)
            for edit in live_edits(session, revision.number):
                rows[edit.artefact].append(edit.artefact_index)
            live = [Delta.from_bytes(artefacts.read(d)).select(own) for d, own in rows.items()]
            digest = weights_digest(base.changed(add=live).materialise())
            assert digest == revision.weights_digest, f"revision {revision.number}"
    database.close()
