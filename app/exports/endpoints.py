"""Exports: a revision as files, and its delta. What is handed out tells what was edited."""

import hashlib
from collections.abc import Iterator
from functools import partial
from threading import Event
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from app.access.require import require
from app.access.scopes import Scope
from app.database.tables.exports import Export, ExportStatus
from app.database.tables.revisions import Revision
from app.deps.idempotency import OnceDep
from app.deps.services import DownloadDep, Services, ServicesDep
from app.errors import ClientGone, ExportGone, ExportNotFinished, RangeBeyond
from app.exports import repository, service
from app.exports.exporter import Exporter
from app.exports.schemas import ExportPage, ExportRequest, ExportResource
from app.exports.store import ExportStore
from app.http.disconnect import while_connected
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER
from app.kit.paging import page_of
from app.kit.pending import Part
from app.operations import revisions
from app.operations.live import live_edits
from app.operations.withdrawals import require_served
from app.resident.factors import read_factors
from app.revisions.endpoints import find_revision
from editing_core.export import live_delta_bytes
from editing_core.weights.delta import Delta

_TAR = "application/x-tar"
_SAFETENSORS = "application/octet-stream"
_UNCHANGED = {"description": "If-None-Match names this very file."}

router = APIRouter(
    prefix="/v1",
    tags=["exports"],
    # Every path here reveals what was edited: factors tell its subjects to who knows the model.
    dependencies=[require(Scope.EXPORT)],
    responses=common_responses(400, 404, 409, 410, 413, 422, 503),
)

IfNoneMatch = Annotated[str | None, Header()]
OneRange = Annotated[
    str | None,
    Header(
        alias="Range",
        pattern=r"^bytes=([0-9]{1,15}-[0-9]{0,15}|-[0-9]{1,15})$",
        description="One part of the file: `bytes=1000-`, `bytes=0-999` or `bytes=-1000`.",
    ),
]


async def _exporter(request: Request) -> Part[Any, Exporter]:
    exporter: Part[Any, Exporter] = request.state.exporter
    return exporter


ExporterDep = Annotated[Part[Any, Exporter], Depends(_exporter)]


@router.post(
    "/exports",
    status_code=202,
    responses=common_responses(429, 507)
    | {200: {"description": "The same was exported before and can be downloaded."}},
)
def create_export(
    body: ExportRequest,
    services: ServicesDep,
    exporter: ExporterDep,
    once: OnceDep,
    response: Response,
) -> ExportResource:
    """Make a revision into files; ask for the export until it has ended.

    Callers who ask for the same revision in the same form share one export.
    """
    once = once.asking(body)
    with services.database.write() as session:
        known = once.recall(session)
        if known is None:
            export = _asked_for(session, services, body, once.actor)
            once.keep(session, export.id)
        else:
            export = repository.get(session, known)
    running = exporter.found()
    if running is not None:
        running.wake()
    response.headers["Location"] = f"/v1/exports/{export.id}"
    response.status_code = 200 if export.status is ExportStatus.FINISHED else 202
    return ExportResource.of(export)


def _asked_for(session: Session, services: Services, body: ExportRequest, actor: str) -> Export:
    """A new export, or one of the same that callers share."""
    revision = revisions.named(session, "revision", body.revision).number
    require_served(session, revision)
    export = _same(session, services, body, revision)
    if export is not None:
        service.share(session, export, actor=actor, now=services.clock())
        return export
    service.check_room(session, services.settings, actor=actor)
    services.space.require()
    return service.accept(
        session,
        id=services.new_id("export"),
        format=body.format,
        revision=revision,
        max_rank=body.max_rank,
        actor=actor,
        now=services.clock(),
    )


def _same(
    session: Session, services: Services, body: ExportRequest, revision: int
) -> Export | None:
    """An export of the same that is being written or can still be downloaded."""
    found = repository.equal(session, format=body.format, revision=revision, max_rank=body.max_rank)
    if found is None or found.status is not ExportStatus.FINISHED:
        return found
    path = ExportStore(services.settings.data_dir).path(found.id)
    return found if path.is_file() else None


@router.get("/exports")
def list_exports(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ExportPage:
    """Exports in the order they were asked for, those that failed among them."""
    with services.database.read() as session:
        found = repository.page(session, after=after, limit=limit)
    items, following = page_of(found, ExportResource.of, limit, lambda row: row.number)
    return ExportPage(items=items, next=following)


@router.get("/exports/{export_id}")
def get_export(export_id: IdPath, services: ServicesDep) -> ExportResource:
    """One export as it stands now."""
    with services.database.read() as session:
        return ExportResource.of(repository.get(session, export_id))


@router.get(
    "/exports/{export_id}/download",
    response_class=FileResponse,
    responses={
        200: {"description": "A tar file.", "content": {_TAR: {}}},
        206: {"description": "The part that Range asks for.", "content": {_TAR: {}}},
        304: _UNCHANGED,
        **common_responses(416),
    },
)
def download_export(
    export_id: IdPath,
    services: ServicesDep,
    part: OneRange = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The file of a finished export; its ETag is its SHA-256, and parts of it may be asked for."""
    with services.database.read() as session:
        export = repository.get(session, export_id)
        require_served(session, export.revision)
    if export.status is not ExportStatus.FINISHED:
        raise ExportNotFinished(export_id, export.status, export.reason)
    path = ExportStore(services.settings.data_dir).path(export_id)
    if not path.is_file():
        raise ExportGone(export_id)
    headers = _headers(export)
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if part is not None:
        _require_inside(part, path.stat().st_size)
    name = f"errata-{export.revision}-{export.format}.tar"
    return FileResponse(path, media_type=_TAR, filename=name, headers=headers)


@router.delete("/exports/{export_id}", status_code=204)
def delete_export(export_id: IdPath, services: ServicesDep, once: OnceDep) -> None:
    """Remove an export and its file; one that is not finished never will be."""
    with services.database.write() as session:
        if once.recall(session) is None:
            service.remove(session, export_id, actor=once.actor, now=services.clock())
            once.keep(session, export_id)
    ExportStore(services.settings.data_dir).remove(export_id)


@router.get(
    "/revisions/{revision}/delta",
    response_class=Response,
    responses={
        200: {"description": "A safetensors file.", "content": {_SAFETENSORS: {}}},
        304: _UNCHANGED,
        **common_responses(429),
    },
)
async def get_delta(
    revision: str,
    services: ServicesDep,
    download: DownloadDep,
    request: Request,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """All that differs between the base and a revision, exactly: the factors of its live edits."""
    found, data = await while_connected(
        request, download.lane.run(partial(_delta, services, revision))
    )
    headers = {
        "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
        "X-Revision": str(found.number),
        "X-Weights-Digest": found.weights_digest,
        "Content-Disposition": f'attachment; filename="delta-{found.number}.safetensors"',
    }
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_SAFETENSORS, headers=headers)


def _delta(services: Services, revision: str, stop: Event) -> tuple[Revision, bytes]:
    with services.database.read() as session:
        found = find_revision(session, revision)
        require_served(session, found.number)
        live = live_edits(session, found.number)
    return found, live_delta_bytes(_until(stop, read_factors(services.artefacts, live)))


def _until(stop: Event, deltas: Iterator[Delta]) -> Iterator[Delta]:
    for delta in deltas:
        if stop.is_set():
            raise ClientGone
        yield delta


def _require_inside(part: str, size: int) -> None:
    first, _, last = part.removeprefix("bytes=").partition("-")
    start = int(first) if first else size - min(int(last), size)
    if start >= size or (first and last and int(last) < start):
        raise RangeBeyond(part, size)


def _headers(export: Export) -> dict[str, str]:
    return {"ETag": f'"{export.digest}"', "X-Revision": str(export.revision)}
