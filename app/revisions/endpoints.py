"""Revisions: the history of the edited model, and the way back."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.access.require import require
from app.access.scopes import Scope
from app.database.tables.operations import OperationKind
from app.database.tables.revisions import Revision
from app.deps.idempotency import OnceDep
from app.deps.operation import OperationResource
from app.deps.services import Services, ServicesDep
from app.deps.waiting import WaitDep
from app.errors import InvalidField, UnknownRevision
from app.http.problems import common_responses
from app.kit.canonical import JsonObject
from app.kit.fields import MAX_INTEGER
from app.kit.paging import page_of
from app.ledger import repository as ledger
from app.operations import repository as operations
from app.operations import revisions as repository
from app.operations import snapshots, withdrawals
from app.operations.lifecycle import accept
from app.operations.once import Once
from app.revisions.schemas import RevisionPage, RevisionResource, RollbackRequest

_MAX_DIGITS = 9
_HELD = 20
_AUDIT = [require(Scope.AUDIT)]

router = APIRouter(
    prefix="/v1", tags=["revisions"], responses=common_responses(400, 404, 413, 422, 503)
)


@router.get("/revisions", dependencies=_AUDIT)
def list_revisions(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RevisionPage:
    """Revisions whose number is above `after`, oldest first."""
    with services.database.read() as session:
        found = repository.page(session, after=after, limit=limit)
        shown = _shown(session, found)
        items, following = page_of(shown, lambda item: item, limit, lambda item: item.number)
    return RevisionPage(items=items, next=following)


def _shown(session: Session, found: Sequence[Revision]) -> Iterator[RevisionResource]:
    """Revisions as the API shows them, few in memory at a time: each may name many edits."""
    for start in range(0, len(found), _HELD):
        yield from revision_resources(session, found[start : start + _HELD])


@router.get("/revisions/{revision}", dependencies=_AUDIT)
def get_revision(revision: str, services: ServicesDep) -> RevisionResource:
    """One revision by its number, or `head`."""
    with services.database.read() as session:
        return revision_resources(session, [find_revision(session, revision)])[0]


@router.post(
    "/rollbacks",
    status_code=202,
    dependencies=[require(Scope.ROLLBACK)],
    responses=common_responses(410, 412, 429) | {200: {"description": "It ended in time."}},
)
async def create_rollback(
    body: RollbackRequest,
    services: ServicesDep,
    once: OnceDep,
    wait: WaitDep,
    response: Response,
) -> OperationResource:
    """Make head equal an old revision, bit for bit, as a new revision."""
    operation_id = await run_in_threadpool(_accept_rollback, services, body, once.asking(body))
    response.headers["Location"] = f"/v1/operations/{operation_id}"
    if await wait.sees_end_of(operation_id):
        response.status_code = 200
    return await run_in_threadpool(_operation, services, operation_id)


def _accept_rollback(services: Services, body: RollbackRequest, once: Once) -> str:
    with services.database.write() as session:
        known = once.recall(session)
        if known is not None:
            return known
        repository.require_head(session, body.if_head)
        to_revision, details = _goal(session, body)
        services.room.for_undoing(session, once.actor)
        operation = accept(
            session,
            id=services.new_id("rollback"),
            kind=OperationKind.ROLLBACK,
            details=details,
            actor=once.actor,
            now=services.clock(),
            reason=body.reason,
            to_revision=to_revision,
            if_head=body.if_head,
        )
        once.keep(session, operation.id)
    services.announce(operation.id)
    return operation.id


def _goal(session: Session, body: RollbackRequest) -> tuple[int, JsonObject]:
    """The revision a rollback goes to, and how the ledger tells of it."""
    if (body.to_revision is None) == (body.to_label is None):
        raise InvalidField(
            "to_revision", "a rollback goes to one place: give either to_revision or to_label"
        )
    if body.to_label is not None:
        number = snapshots.get(session, body.to_label).revision
        withdrawals.require_served(session, number)
        return number, {"to_revision": number, "to_label": body.to_label}
    number = repository.named(session, "to_revision", body.to_revision).number
    withdrawals.require_served(session, number)
    return number, {"to_revision": number}


def _operation(services: Services, operation_id: str) -> OperationResource:
    with services.database.read() as session:
        return OperationResource.of(operations.get(session, operation_id))


def find_revision(session: Session, revision: str) -> Revision:
    """The revision that a path names, by its number or as `head`.

    Raises:
        InvalidField: The path names none.
        UnknownRevision: There is no such revision.
        NoRevisionYet: There is not even a base.
    """
    if revision == "head":
        return repository.named(session, "revision", None)
    if not (revision.isascii() and revision.isdigit()):
        raise InvalidField("revision", "a revision is named by its number, or `head`")
    if len(revision) > _MAX_DIGITS:
        raise UnknownRevision(revision[:_MAX_DIGITS] + "…")
    return repository.get(session, int(revision))


def revision_resources(session: Session, revisions: Sequence[Revision]) -> list[RevisionResource]:
    """Revisions as the API shows them, in the order given."""
    hashes = ledger.hashes(session, [revision.ledger_index for revision in revisions])
    touched = defaultdict[tuple[int, int], list[str]](list)
    for change in repository.changes(session, [revision.number for revision in revisions]):
        touched[change.revision, change.change].append(change.edit_id)
    since = _withdrawn_at(session, [revision.number for revision in revisions])
    return [
        RevisionResource.of(
            revision,
            edits=touched[revision.number, 1],
            removed=touched[revision.number, -1],
            resolved=touched[revision.number, 0],
            ledger_hash=hashes[revision.ledger_index],
            withdrawn_at=since.get(revision.number),
        )
        for revision in revisions
    ]


def _withdrawn_at(session: Session, numbers: Sequence[int]) -> dict[int, datetime]:
    """Revision → since when it is withdrawn, of those among them that are."""
    found = dict[int, datetime]()
    for withdrawal in withdrawals.between(session, min(numbers), max(numbers)) if numbers else ():
        for number in numbers:
            if withdrawal.first <= number <= withdrawal.last:
                found.setdefault(number, withdrawal.withdrawn_at)
    return found
