"""Batches: post corrections together and see what became of them."""

from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.access.require import require
from app.access.scopes import Scope
from app.deps.idempotency import OnceDep
from app.deps.services import Services, ServicesDep
from app.edits import batch_service as service
from app.edits.batch_schemas import EditBatchRequest, EditBatchResource
from app.edits.endpoints import DryRun
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER
from app.operations import batches as repository

router = APIRouter(
    prefix="/v1/edit-batches",
    tags=["edits"],
    dependencies=[require(Scope.EDIT)],
    responses=common_responses(400, 404, 413, 422, 503),
)


@router.post("", status_code=202, responses=common_responses(429, 507))
def create_batch(
    body: EditBatchRequest,
    services: ServicesDep,
    once: OnceDep,
    response: Response,
    dry_run: DryRun = False,
) -> EditBatchResource:
    """Accept corrections together; the worker computes them in their turn."""
    batch = service.submit(services, body, dry_run=dry_run, once=once)
    response.headers.update(batch.headers)
    response.headers["Location"] = f"/v1/edit-batches/{batch.id}"
    return _resource(services, batch.id)


@router.get("/{batch_id}")
def get_batch(
    batch_id: IdPath,
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
) -> EditBatchResource:
    """A batch with its edits and their reports, from the one whose `seq` is above `after` on."""
    return _resource(services, batch_id, after)


def _resource(services: Services, batch_id: str, after: int = 0) -> EditBatchResource:
    with services.database.read() as session:
        batch = repository.get(session, batch_id)
        with closing(repository.following(session, batch_id, after=after)) as edits:
            return EditBatchResource.of(batch, edits)
