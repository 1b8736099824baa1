"""Operations: what the worker was asked to do."""

from fastapi import APIRouter, Response

from app.access.require import require
from app.access.scopes import Scope
from app.deps.idempotency import OnceDep
from app.deps.operation import OperationResource
from app.deps.services import Services, ServicesDep
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.operations import repository
from app.operations.erasing import erase_reason
from app.operations.purging import purge_soon

router = APIRouter(
    prefix="/v1/operations", tags=["operations"], responses=common_responses(404, 422, 503)
)
# Who may ask for a rollback may see what becomes of it.
_SEE = [require(Scope.AUDIT, Scope.ROLLBACK)]


@router.get("/{operation_id}", dependencies=_SEE)
def get_operation(operation_id: IdPath, services: ServicesDep) -> OperationResource:
    """One operation: an edit, a revert or a rollback."""
    return _resource(services, operation_id)


@router.post(
    "/{operation_id}/erase",
    dependencies=[require(Scope.ADMIN)],
    responses=common_responses(400, 409, 413)
    | {202: {"description": "A reader keeps the reason in the database's files for now."}},
)
def erase_operation(
    operation_id: IdPath, services: ServicesDep, once: OnceDep, response: Response
) -> OperationResource:
    """Remove the reason that was given for a revert or a rollback, for ever.

    200 says that nothing of it is left in the database; 202 that this goes on by itself.
    """
    with services.database.write() as session:
        if once.recall(session) is None:
            erase_reason(session, operation_id, actor=once.actor, now=services.clock())
            once.keep(session, operation_id)
    purge_soon(services.database, services.clock)
    found = _resource(services, operation_id)
    response.status_code = 202 if found.erased_at is None else 200
    return found


def _resource(services: Services, operation_id: str) -> OperationResource:
    with services.database.read() as session:
        return OperationResource.of(repository.get(session, operation_id))
