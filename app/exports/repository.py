"""Finding and storing exports. Every function works inside the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.tables.exports import Export, ExportFormat, ExportStatus
from app.errors import UnknownExport
from app.facts.spans import Span
from app.operations.withdrawals import among

_UNFINISHED = (ExportStatus.ACCEPTED, ExportStatus.RUNNING)


def add(session: Session, export: Export) -> None:
    """Store a new export."""
    session.add(export)
    session.flush()


def get(session: Session, export_id: str) -> Export:
    """The export with this id.

    Raises:
        UnknownExport: There is none.
    """
    export = find(session, export_id)
    if export is None:
        raise UnknownExport(export_id)
    return export


def find(session: Session, export_id: str) -> Export | None:
    """The export with this id, unless it was removed."""
    return session.scalar(select(Export).where(Export.id == export_id))


def page(session: Session, *, after: int | None, limit: int) -> Sequence[Export]:
    """Up to `limit` exports asked for after the one with this number, oldest first."""
    query = select(Export).order_by(Export.number).limit(limit)
    if after is not None:
        query = query.where(Export.number > after)
    return session.scalars(query).all()


def equal(
    session: Session, *, format: ExportFormat, revision: int, max_rank: int | None
) -> Export | None:
    """The newest export of the same that has not failed."""
    rank = Export.max_rank.is_(None) if max_rank is None else Export.max_rank == max_rank
    query = select(Export).where(
        Export.format == format,
        Export.revision == revision,
        rank,
        Export.status != ExportStatus.FAILED,
    )
    return session.scalar(query.order_by(Export.number.desc()).limit(1))


def count_unfinished(session: Session, *, actor: str | None = None) -> int:
    """How many exports are still to be written, of one caller or of all."""
    query = select(func.count()).select_from(Export).where(Export.status.in_(_UNFINISHED))
    if actor is not None:
        query = query.where(Export.actor == actor)
    return session.scalars(query).one()


def remove(session: Session, export: Export) -> None:
    """Remove an export; its file stays until somebody removes that, too."""
    session.delete(export)
    session.flush()


def next_accepted(session: Session) -> Export | None:
    """The one that has waited longest."""
    query = select(Export).where(Export.status == ExportStatus.ACCEPTED)
    return session.scalar(query.order_by(Export.number).limit(1))


def running(session: Session) -> Sequence[Export]:
    """Those that some process writes, or wrote when it died."""
    return session.scalars(select(Export).where(Export.status == ExportStatus.RUNNING)).all()


def of_revisions(session: Session, spans: Sequence[Span]) -> Sequence[Export]:
    """Those of these revisions that have a file, or are to have one."""
    query = select(Export).where(
        Export.status != ExportStatus.FAILED, among(Export.revision, spans)
    )
    return session.scalars(query).all()


def finished(session: Session) -> Sequence[Export]:
    """Those with a file, the last one finished first."""
    query = select(Export).where(Export.status == ExportStatus.FINISHED)
    return session.scalars(query.order_by(Export.finished_at.desc())).all()
