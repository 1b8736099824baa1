"""Looking back: what separates two revisions, and how each of them moved the model."""

from threading import Event

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.access.require import require
from app.access.scopes import Scope
from app.database.tables.revisions import Revision
from app.deps.services import ReportDep, Services, ServicesDep
from app.errors import InvalidField
from app.http.disconnect import while_connected
from app.http.problems import common_responses
from app.lookback.difference import Extent, Report
from app.lookback.drift import drift
from app.lookback.schemas import (
    Difference,
    DriftPage,
    FromQuery,
    MaxFacts,
    MaxProbes,
    MaxRevisions,
    ToQuery,
)
from app.operations import revisions
from app.operations.withdrawals import require_served
from app.query.deps import QueryDep
from app.query.reservation import ReservationDep

router = APIRouter(
    prefix="/v1",
    tags=["history"],
    dependencies=[require(Scope.AUDIT)],
    responses=common_responses(400, 404, 413, 422, 503),
)


@router.get("/diff", responses=common_responses(410, 429))
async def get_difference(
    services: ServicesDep,
    query: QueryDep,
    lane: ReportDep,
    reservation: ReservationDep,
    request: Request,
    from_: FromQuery = 0,
    to: ToQuery = "head",
    facts: MaxFacts = 100,
    probes: MaxProbes = 16,
) -> Difference:
    """What leads from one revision to another: `from` may also be the later one."""
    first = await run_in_threadpool(_find, services, "from", from_)
    last = await run_in_threadpool(_find, services, "to", to)
    report = Report(services, query, lane, reservation)
    finding = report.difference(first, last, Extent(facts, probes))
    return await while_connected(request, finding)


@router.get("/drift", responses=common_responses(429))
async def get_drift(
    services: ServicesDep,
    lane: ReportDep,
    request: Request,
    from_: FromQuery = 0,
    to: ToQuery = "head",
    limit: MaxRevisions = 100,
) -> DriftPage:
    """How far each revision moved the model, as it was recorded when it was made."""

    def read(_: Event) -> DriftPage:
        with services.database.read() as session:
            first = revisions.named(session, "from", _number(from_))
            last = revisions.named(session, "to", _number(to))
            _require_order(first, last)
            return drift(session, first=first.number, last=last.number, limit=limit)

    return await while_connected(request, lane.run(read))


def _find(services: Services, field: str, name: int | str) -> Revision:
    with services.database.read() as session:
        found = revisions.named(session, field, _number(name))
        require_served(session, found.number)
        return found


def _number(name: int | str) -> int | None:
    return name if isinstance(name, int) else None


def _require_order(first: Revision, last: Revision) -> None:
    if first.number > last.number:
        raise InvalidField(
            "from",
            f"revision {first.number} comes after revision {last.number}; "
            "give the earlier one as from",
        )
