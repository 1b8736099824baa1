"""The ledger: read it, have it checked, and take it away."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.keys.access import require
from app.keys.scopes import Scope
from app.ledger import repository, service
from app.ledger.auditing import audit
from app.ledger.checkpoint import Checkpoint
from app.ledger.mark import Marks
from app.ledger.schemas import EntryResource, LedgerPage, LedgerVerdict
from app.ledger.signing import SigningKey
from app.problems import common_responses
from app.services import Services, ServicesDep
from app.text import MAX_INTEGER

_JSON_LINES = "application/jsonl"
_TAR = "application/x-tar"

router = APIRouter(
    prefix="/v1/ledger",
    tags=["audit"],
    dependencies=[require(Scope.AUDIT)],
    responses=common_responses(404, 422, 503),
)


@router.get("")
def list_entries(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LedgerPage:
    """Entries whose index is above `after`, oldest first."""
    with services.database.read() as session:
        links = list(repository.links(session, after=after, limit=limit))
    items = [EntryResource.of(link) for link in links]
    return LedgerPage(items=items, next=items[-1].index if len(items) == limit else None)


@router.get("/verify")
def verify_ledger(services: ServicesDep) -> LedgerVerdict:
    """Recompute every hash of the chain and of every artefact, and compare the rows that are shown.

    The first that is wrong is named.
    """
    verdict = audit(services.database, services.artefacts)
    services.metrics.verifications.labels("ok" if verdict.ok else "failed").inc()
    return verdict


@router.get("/checkpoint")
def get_checkpoint(services: ServicesDep) -> Checkpoint:
    """The head of the chain, signed; kept elsewhere, it shows a rewrite of everything."""
    return _checkpoint(services)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"description": "One entry a line.", "content": {_JSON_LINES: {}}}},
)
def export_ledger(services: ServicesDep) -> StreamingResponse:
    """Every entry, oldest first, as JSON Lines."""
    services.database.ping()  # what fails later can only break off
    return StreamingResponse(service.export(services.database), media_type=_JSON_LINES)


@router.get(
    "/bundle",
    response_class=StreamingResponse,
    responses={200: {"description": "A tar file.", "content": {_TAR: {}}}},
)
def get_bundle(services: ServicesDep) -> StreamingResponse:
    """All evidence in one file, which `errata verify FILE` checks without any server."""
    bundle = service.pack(services.database, services.artefacts, _checkpoint(services))
    headers = {
        "Content-Disposition": f'attachment; filename="{bundle.file_name}"',
        "Content-Length": str(bundle.size),
    }
    return StreamingResponse(iter(bundle), media_type=_TAR, headers=headers)


def _checkpoint(services: Services) -> Checkpoint:
    folder = services.settings.data_dir
    key, marks = SigningKey.of(folder), Marks(folder)
    return service.checkpoint(services.database, marks, key, services.clock())
