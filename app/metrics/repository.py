"""What the database says of the service's state, in one query."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.tables.erasures import Erasure
from app.database.tables.lease import WriterLease
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.queue_state import QueueState
from app.database.tables.revisions import Revision
from app.kit.canonical import JsonObject

_ACCEPTED, _RUNNING = OperationStatus.ACCEPTED, OperationStatus.RUNNING


@dataclass(frozen=True)
class State:
    """The queue, the writer and the head.

    Attributes:
        waiting: Operations that are accepted.
        running: Operations in hand.
        paused: Since when the queue is paused; None where it is not.
        dead: Edits that were given up.
        erasing: Erasures that are pending.
        oldest: When the oldest accepted operation was accepted; None where there is none.
        writer: The process that holds the lease; None where nobody does.
        beat: What grows while that process lives.
        head: Newest revision; None before the first model.
        live_edits: How many edits are live in it.
        measured: What was measured of it; None before the first model.
        base_measured: The same of revision 0.
    """

    waiting: int
    running: int
    paused: datetime | None
    dead: int
    erasing: int
    oldest: datetime | None
    writer: str | None
    beat: int
    head: int | None
    live_edits: int | None
    measured: JsonObject | None
    base_measured: JsonObject | None


def state(session: Session) -> State:
    """The state now; reads through the index on status, so it stays cheap as history grows."""
    by_status = select(func.count()).select_from(Operation)
    oldest = select(func.min(Operation.created_at)).where(Operation.status == _ACCEPTED)
    newest = select(func.max(Revision.number)).scalar_subquery()
    row = session.execute(
        select(
            by_status.where(Operation.status == _ACCEPTED).scalar_subquery(),
            by_status.where(Operation.status == _RUNNING).scalar_subquery(),
            select(QueueState.paused_at).scalar_subquery(),
            by_status.where(
                Operation.status == OperationStatus.DEAD, Operation.kind == OperationKind.EDIT
            ).scalar_subquery(),
            select(func.count())
            .select_from(Erasure)
            .where(Erasure.done_at.is_(None))
            .scalar_subquery(),
            oldest.scalar_subquery(),
            select(WriterLease.holder).scalar_subquery(),
            select(WriterLease.beat).scalar_subquery(),
            newest,
            select(Revision.live_edits).where(Revision.number == newest).scalar_subquery(),
            select(Revision.report).where(Revision.number == newest).scalar_subquery(),
            select(Revision.report).where(Revision.number == 0).scalar_subquery(),
        )
    ).one()
    return State(*row)
