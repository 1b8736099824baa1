"""Pausing the queue, resuming it, and cancelling much of it at once; the ledger tells of each."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation, OperationStatus
from app.deps.services import Services
from app.kit.canonical import JsonObject
from app.kit.logs import get_logger
from app.ledger import service as ledger
from app.operations import queue_state as repository
from app.operations.batches import bound_together
from app.operations.lifecycle import cancel_some, tell_cancelled
from app.operations.once import Once
from app.operations.repository import count_by_kind
from app.pausing.matching import matching, waiting
from app.pausing.schemas import CancelRequest, Counts, QueueResource

_QUEUE = "queue"  # by which idempotency keys and the doorbell name it
_PAGE = 200  # edits that are cancelled in one transaction, and atomic batches whole
_log = get_logger(__name__)


def shown(session: Session) -> QueueResource:
    """The queue as it is now."""
    row = repository.state(session)
    return QueueResource(
        state="running" if row.paused_at is None else "paused",
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        reason=row.reason,
        waiting=Counts.of(count_by_kind(session, OperationStatus.ACCEPTED)),
        in_hand=Counts.of(count_by_kind(session, OperationStatus.RUNNING)),
    )


def pause(services: Services, reason: str | None, once: Once) -> None:
    """Have no more edits begun, and those in hand set back; paused already, it stays as it was."""
    once = once.asking({"reason": reason})
    with services.database.write() as session:
        if once.recall(session) is not None:
            return
        once.keep(session, _QUEUE)
        row, now = repository.state(session), services.clock()
        if row.paused_at is not None:
            return
        row.paused_at, row.paused_by, row.reason = now, once.actor, reason
        _tell(session, {"act": "pause"}, once.actor, now)
    _log.warning("queue_paused", actor=once.actor)


def resume(services: Services, once: Once) -> None:
    """Have edits begun again; if it is not paused, nothing happens."""
    with services.database.write() as session:
        if once.recall(session) is not None:
            return
        once.keep(session, _QUEUE)
        row, now = repository.state(session), services.clock()
        if row.paused_at is None:
            return
        row.paused_at = row.paused_by = row.reason = None
        _tell(session, {"act": "resume"}, once.actor, now)
    _log.warning("queue_resumed", actor=once.actor)
    services.doorbell.ring(_QUEUE)


def cancel(services: Services, wanted: CancelRequest, once: Once) -> int:
    """Cancel the edits that wait and match, some at a time; how many there were.

    What is accepted meanwhile is left alone.
    """
    once, actor = once.asking(wanted), once.actor
    with services.database.read() as session:
        known = once.recall(session)
        ids = matching(session, wanted) if known is None else []
    if known is not None:
        return int(known)
    cancelled = set[str]()
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        with services.database.write() as session:
            found = _together(session, [id for id in page if id not in cancelled])
            if not wanted.dry_run:
                cancel_some(session, found, now=services.clock(), actor=actor)
        cancelled |= {operation.id for operation in found}
        if not wanted.dry_run:
            tell_cancelled(found)
    if not wanted.dry_run:
        with services.database.write() as session:
            once.keep(session, str(len(cancelled)))
            if cancelled:
                told: JsonObject = {"act": "cancel", "cancelled": len(cancelled)}
                _tell(session, told, actor, services.clock())
    if cancelled and not wanted.dry_run:
        _log.warning("queue_cancelled", actor=actor, cancelled=len(cancelled))
    return len(cancelled)


def _together(session: Session, ids: Sequence[str]) -> list[Operation]:
    """Those of these edits that still wait, with the rest of their atomic batches, each once."""
    found = dict[str, Operation]()
    for edit in waiting(session, ids):
        if edit.id not in found:
            found |= {one.id: one.operation for one in bound_together(session, edit)}
    return list(found.values())


def _tell(session: Session, told: JsonObject, actor: str, now: datetime) -> None:
    ledger.append(session, EntryKind.QUEUE, told, actor=actor, now=now)
