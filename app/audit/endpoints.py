"""The ledger: read it, have it checked, and take it away."""

from contextlib import closing
from functools import partial
from threading import Event
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from app.access.require import require
from app.access.scopes import Scope
from app.audit.auditing import audit
from app.audit.packing import pack
from app.deps.services import DownloadDep, Services, ServicesDep
from app.http.disconnect import while_connected
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER
from app.kit.lane import Shared
from app.kit.paging import page_of
from app.ledger import repository, service
from app.ledger.bundle import PackedBundle
from app.ledger.checkpoint import Checkpoint
from app.ledger.mark import Marks
from app.ledger.prefix import VerifiedPrefix
from app.ledger.schemas import EntryResource, LedgerPage, LedgerVerdict
from app.ledger.signing import SigningKey

_JSON_LINES = "application/jsonl"
_TAR = "application/x-tar"


async def _verification(request: Request) -> Shared[LedgerVerdict]:
    found: Shared[LedgerVerdict] = request.state.verification
    return found


VerificationDep = Annotated[Shared[LedgerVerdict], Depends(_verification)]

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
    with (
        services.database.read() as session,
        closing(repository.links(session, after=after, limit=limit)) as links,
    ):
        items, following = page_of(links, EntryResource.of, limit, lambda row: row.index)
    return LedgerPage(items=items, next=following)


@router.get("/verify")
async def verify_ledger(verification: VerificationDep, request: Request) -> LedgerVerdict:
    """Recompute every hash of the chain and of every artefact, and compare the rows that are shown.

    The first that is wrong is named. It is done once for all who ask for it at the same time.
    """
    return await while_connected(request, verification.result())


@router.get("/checkpoint")
def get_checkpoint(services: ServicesDep) -> Checkpoint:
    """The head of the chain, signed; kept elsewhere, it shows a rewrite of everything."""
    return _checkpoint(services)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=common_responses(429)
    | {200: {"description": "One entry a line.", "content": {_JSON_LINES: {}}}},
)
async def export_ledger(services: ServicesDep, download: DownloadDep) -> StreamingResponse:
    """Every entry, oldest first, as JSON Lines."""
    # What fails later can only break off.
    await download.lane.run(lambda _: services.database.ping())
    lines = download.lane.each(service.export(services.database))
    return StreamingResponse(lines, media_type=_JSON_LINES)


@router.get(
    "/bundle",
    response_class=StreamingResponse,
    responses=common_responses(429) | {200: {"description": "A tar file.", "content": {_TAR: {}}}},
)
async def get_bundle(
    services: ServicesDep, download: DownloadDep, request: Request
) -> StreamingResponse:
    """All evidence in one file, which `errata verify FILE` checks without any server."""
    packing = download.lane.run(partial(_pack, services))
    bundle = await while_connected(request, packing)
    download.after.callback(bundle.close)
    headers = {
        "Content-Disposition": f'attachment; filename="{bundle.file_name}"',
        "Content-Length": str(bundle.size),
    }
    return StreamingResponse(download.lane.each(iter(bundle)), media_type=_TAR, headers=headers)


def verification(services: Services) -> Shared[LedgerVerdict]:
    """Checks of a service's ledger, on a thread of their own."""
    return Shared(services.verifying, partial(_verify, services, VerifiedPrefix()))


def _verify(services: Services, prefix: VerifiedPrefix, stop: Event) -> LedgerVerdict:
    verdict = audit(services.database, services.artefacts, stop, prefix)
    services.metrics.verifications.labels("ok" if verdict.ok else "failed").inc()
    return verdict


def _pack(services: Services, stop: Event) -> PackedBundle:
    return pack(services.database, services.artefacts, _checkpoint(services), stop)


def _checkpoint(services: Services) -> Checkpoint:
    folder = services.settings.data_dir
    key, marks = SigningKey.of(folder), Marks(folder)
    return service.checkpoint(services.database, marks, key, services.clock())
