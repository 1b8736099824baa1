"""What several revisions say to one question."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.access.require import require
from app.access.scopes import Scope
from app.deps.services import Services, ServicesDep
from app.errors import InvalidField
from app.facts.spans import Span, merged
from app.http.disconnect import while_connected
from app.http.problems import common_responses
from app.lookback.bisection import bisect
from app.lookback.comparison import compare
from app.lookback.questions import Bisection, BisectRequest, CompareRequest, Comparison
from app.operations import revisions, withdrawals
from app.query.deps import QueryDep
from app.query.reservation import ReservationDep
from app.revisions.endpoints import revision_resources
from app.revisions.schemas import RevisionResource

_RESPONSES = common_responses(400, 404, 410, 413, 422, 429, 503)
compare_router = APIRouter(
    prefix="/v1", tags=["query"], dependencies=[require(Scope.QUERY)], responses=_RESPONSES
)
# It names edits, which is the auditor's to see.
bisect_router = APIRouter(
    prefix="/v1", tags=["history"], dependencies=[require(Scope.AUDIT)], responses=_RESPONSES
)


@compare_router.post("/compare")
async def create_comparison(
    body: CompareRequest, query: QueryDep, reservation: ReservationDep, request: Request
) -> Comparison:
    """Continue one text under several revisions, greedily: they differ by their weights only."""
    return await while_connected(request, compare(query, reservation, body))


@bisect_router.post("/bisect")
async def create_bisection(
    body: BisectRequest,
    query: QueryDep,
    reservation: ReservationDep,
    services: ServicesDep,
    request: Request,
) -> Bisection:
    """Find the revision under which a completion no longer starts with what is expected."""
    first, last, withdrawn = await run_in_threadpool(_extent, services, body)
    searching = bisect(
        query, reservation, body.prompt, body.expect, first=first, last=last, withdrawn=withdrawn
    )
    found = await while_connected(request, searching)
    revision = None
    if found.outcome == "found" and found.after is not None:
        revision = await run_in_threadpool(_resource, services, found.after.revision)
    return Bisection(
        outcome=found.outcome,
        message=found.message,
        revision=revision,
        before=found.before,
        after=found.after,
        tried=found.tried,
    )


def _extent(services: Services, body: BisectRequest) -> tuple[int, int, list[Span]]:
    """Both ends of a search, and what between them cannot be asked."""
    with services.database.read() as session:
        first = revisions.named(session, "from", None if body.from_ == "head" else body.from_)
        last = revisions.named(session, "to", None if body.to == "head" else body.to)
        withdrawn = withdrawals.between(session, first.number, last.number)
    if first.number > last.number:
        raise InvalidField(
            "from",
            f"revision {first.number} comes after revision {last.number}; "
            "give the earlier one as from",
        )
    return first.number, last.number, merged(Span(gap.first, gap.last) for gap in withdrawn)


def _resource(services: Services, number: int) -> RevisionResource:
    with services.database.read() as session:
        return revision_resources(session, [revisions.get(session, number)])[0]
