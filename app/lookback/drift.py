"""How the model moves from revision to revision, as it was recorded at each commit."""

from sqlalchemy.orm import Session

from app.database.tables.revisions import Revision
from app.facts.revision_report import RevisionReport
from app.lookback import repository
from app.lookback.schemas import DriftPage, RevisionDrift


def drift(session: Session, *, first: int, last: int, limit: int) -> DriftPage:
    """Up to `limit` revisions from `first` to `last`; nothing is measured for it."""
    found = repository.revisions(session, first=first, last=last, limit=limit + 1)
    shown, rest = found[:limit], found[limit:]
    return DriftPage(items=[*map(_row, shown)], next=rest[0].number if rest else None)


def _row(revision: Revision) -> RevisionDrift:
    report = RevisionReport.model_validate(revision.report)
    return RevisionDrift(
        revision=revision.number,
        kind=revision.kind,
        created_at=revision.created_at,
        live_edits=revision.live_edits,
        perplexity=report.perplexity,
        perplexity_tokens=report.perplexity_tokens,
        layers=report.layers,
    )
