"""Snapshots: revisions with a label to go back to."""

from collections.abc import Callable
from threading import Event
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.access.require import require
from app.access.scopes import Scope
from app.database.tables.labels import Snapshot
from app.deps.idempotency import OnceDep
from app.deps.services import ReportDep, ServicesDep
from app.http.paths import LabelPath
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER
from app.kit.paging import page_of
from app.kit.pending import Part
from app.operations import revisions
from app.operations import snapshots as repository
from app.operations.labels import remove_label
from app.operations.once import Once
from app.revisions.label_schemas import SnapshotPage, SnapshotRequest, SnapshotResource

_AUDIT = [require(Scope.AUDIT)]
_ROLLBACK = [require(Scope.ROLLBACK)]

router = APIRouter(
    prefix="/v1/snapshots",
    tags=["revisions"],
    responses=common_responses(400, 404, 409, 413, 422, 503),
)


@router.get("", dependencies=_AUDIT)
def list_snapshots(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SnapshotPage:
    """Labelled snapshots, and those the worker took by itself, in the order they were taken."""
    with services.database.read() as session:
        found = repository.page(session, after=after, limit=limit)
    items, following = page_of(found, SnapshotResource.of, limit, lambda row: row.id)
    return SnapshotPage(items=items, next=following)


TakeSnapshot = Callable[[int, str, Once], tuple[Snapshot, bool]]
"""Stores a revision under a label; whether that is new."""


async def _snapshots(request: Request) -> Part[Any, TakeSnapshot]:
    snapshots: Part[Any, TakeSnapshot] = request.state.snapshots
    return snapshots


SnapshotsDep = Annotated[Part[Any, TakeSnapshot], Depends(_snapshots)]


@router.post(
    "",
    status_code=201,
    dependencies=_ROLLBACK,
    responses=common_responses(410, 429, 507)
    | {200: {"description": "The revision has this label already."}},
)
async def create_snapshot(
    body: SnapshotRequest,
    services: ServicesDep,
    snapshots: SnapshotsDep,
    lane: ReportDep,
    once: OnceDep,
    response: Response,
) -> SnapshotResource:
    """Keep a revision whole under a label, which a rollback may then name."""
    asked = once.asking(body)

    def take(_: Event) -> tuple[Snapshot, bool]:
        with services.database.read() as session:
            known = asked.recall(session)
            if known is not None:
                return repository.numbered(session, int(known), body.label), False
            revision = revisions.named(session, "revision", body.revision).number
        return snapshots.get()(revision, body.label, asked)

    snapshot, is_new = await lane.run(take)
    response.headers["Location"] = f"/v1/snapshots/{body.label}"
    response.status_code = 201 if is_new else 200
    return SnapshotResource.of(snapshot)


@router.get("/{label}", dependencies=_AUDIT)
def get_snapshot(label: LabelPath, services: ServicesDep) -> SnapshotResource:
    """The snapshot with this label."""
    with services.database.read() as session:
        return SnapshotResource.of(repository.get(session, label))


@router.delete("/{label}", status_code=204, dependencies=_ROLLBACK)
def delete_snapshot(label: LabelPath, services: ServicesDep, once: OnceDep) -> None:
    """Remove a label; its revision stays, and the label may then be given to another."""
    with services.database.write() as session:
        if once.recall(session) is None:
            remove_label(session, label, actor=once.actor, now=services.clock())
            once.keep(session, label)
