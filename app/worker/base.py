"""Revision 0: recorded once edits can be computed, and what every later start must agree with."""

from sqlalchemy.orm import Session

from app.database.database import Database
from app.kit.clock import Clock
from app.kit.logs import get_logger
from app.operations.commit import EditedMatrices, record_base, require_base
from app.operations.revisions import newest
from app.resident.opening import Opened
from app.worker.revision_report import report_of_base
from editing_core.weights.digest import weights_digest

_log = get_logger(__name__)


def check_origin(database: Database, opened: Opened) -> None:
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
        _require(session, opened)


def record(database: Database, opened: Opened, recipe: str, clock: Clock, actor: str) -> None:
    """Record revision 0, if it is not: with the recipe that the first edits are computed by."""
    with database.read() as session:
        if newest(session) is not None:
            _require(session, opened)
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
            actor=actor,
            now=clock(),
            matrices=EditedMatrices(
                opened.layers,
                base.architecture.site,
                str(base.model.dtype).removeprefix("torch."),
            ),
            report=report.model_dump(mode="json"),
        )


def _require(session: Session, opened: Opened) -> None:
    require_base(
        session,
        model=opened.base.name,
        model_digest=opened.base.digest,
        weights_digest=weights_digest(opened.weights),
    )
