"""The ledger: read it, and have it checked."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.ledger import repository, service
from app.ledger.schemas import EntryResource, LedgerPage, LedgerVerdict
from app.problems import common_responses
from app.services import ServicesDep
from app.text import MAX_INTEGER

router = APIRouter(prefix="/v1/ledger", tags=["audit"], responses=common_responses(422, 503))


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
    """Recompute every hash of the chain; names the first entry that does not hold."""
    with services.database.read() as session:
        return LedgerVerdict.of(service.check(session))
