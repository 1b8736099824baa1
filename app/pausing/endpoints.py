"""The queue: the brake that an operator pulls before anything else."""

from fastapi import APIRouter

from app.access.require import require
from app.access.scopes import Scope
from app.deps.idempotency import OnceDep
from app.deps.services import Services, ServicesDep
from app.http.problems import common_responses
from app.pausing import service
from app.pausing.schemas import Cancelled, CancelRequest, PauseRequest, QueueResource

router = APIRouter(prefix="/v1/queue", tags=["queue"], responses=common_responses(503))
_BRAKE = [require(Scope.ROLLBACK)]
_REFUSED = common_responses(400, 413, 422)


@router.get("", dependencies=[require(Scope.AUDIT, Scope.ROLLBACK)])
def get_queue(services: ServicesDep) -> QueueResource:
    """Whether edits are executed, and how many operations wait."""
    return _resource(services)


@router.post("/pause", dependencies=_BRAKE, responses=_REFUSED)
def pause_queue(
    services: ServicesDep, once: OnceDep, body: PauseRequest | None = None
) -> QueueResource:
    """Begin no more edits, also after a restart; reverts and rollbacks are executed.

    Edits in hand are thrown away at their next step and wait again. Edits are accepted meanwhile.
    """
    service.pause(services, None if body is None else body.reason, once)
    return _resource(services)


@router.post("/resume", dependencies=_BRAKE, responses=_REFUSED)
def resume_queue(services: ServicesDep, once: OnceDep) -> QueueResource:
    """Execute edits again, in their order."""
    service.resume(services, once)
    return _resource(services)


@router.post("/cancel", dependencies=_BRAKE, responses=_REFUSED)
def cancel_queued(body: CancelRequest, services: ServicesDep, once: OnceDep) -> Cancelled:
    """Cancel the edits that wait and match; what has begun is undone by a rollback or a revert."""
    return Cancelled(cancelled=service.cancel(services, body, once))


def _resource(services: Services) -> QueueResource:
    with services.database.read() as session:
        return service.shown(session)
