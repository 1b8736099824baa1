"""Operations: what the worker was asked to do."""

from fastapi import APIRouter

from app.keys.access import require
from app.keys.scopes import Scope
from app.operations import repository
from app.operations.schemas import OperationResource
from app.problems import common_responses
from app.services import ServicesDep
from app.text import IdPath

router = APIRouter(
    prefix="/v1/operations",
    tags=["operations"],
    # Who may ask for a rollback may see what becomes of it.
    dependencies=[require(Scope.AUDIT, Scope.ROLLBACK)],
    responses=common_responses(404, 422, 503),
)


@router.get("/{operation_id}")
def get_operation(operation_id: IdPath, services: ServicesDep) -> OperationResource:
    """One operation: an edit, a revert or a rollback."""
    with services.database.read() as session:
        return OperationResource.of(repository.get(session, operation_id))
