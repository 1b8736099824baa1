"""How the model moves from revision to revision, as it was recorded at each commit."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.database.tables.edits import Edit
from app.database.tables.revisions import Revision
from app.facts.edit_report import EditReport
from app.facts.revision_report import LayerDrift, RevisionReport
from app.lookback import repository
from app.lookback.schemas import DriftPage, RevisionDrift


def drift(session: Session, *, first: int, last: int, limit: int) -> DriftPage:
    """Up to `limit` revisions from `first` to `last`; nothing is measured for it."""
    found = repository.revisions(session, first=first, last=last, limit=limit + 1)
    shown, rest = found[:limit], found[limit:]
    unmeasured = [revision.number for revision in shown if revision.report is None]
    edits = repository.made_by(session, unmeasured)
    items = [_row(revision, edits.get(revision.number)) for revision in shown]
    return DriftPage(items=items, next=rest[0].number if rest else None)


def _row(revision: Revision, edit: Edit | None) -> RevisionDrift:
    report = None
    if revision.report is not None:
        report = RevisionReport.model_validate(revision.report)
    return RevisionDrift(
        revision=revision.number,
        kind=revision.kind,
        created_at=revision.created_at,
        live_edits=revision.live_edits,
        perplexity=None if report is None else report.perplexity,
        perplexity_tokens=None if report is None else report.perplexity_tokens,
        layers=_energies_after(edit) if report is None else report.layers,
    )


def _energies_after(edit: Edit | None) -> Sequence[LayerDrift]:
    """What an edit's own report says of its revision, from before revisions had reports."""
    if edit is None or edit.report is None:
        return []
    return [
        LayerDrift(
            layer=found.layer, energy=found.energy_after, delta_norm=None, key_collision=None
        )
        for found in EditReport.model_validate(edit.report).layers
    ]
