"""Edits: post corrections and see what became of them."""

from contextlib import closing
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from app.access.require import require
from app.access.scopes import Scope
from app.database.tables.edits import EditStatus
from app.database.tables.withdrawals import Why
from app.deps.erasure import EraseRequest
from app.deps.idempotency import OnceDep
from app.deps.operation import OperationResource
from app.deps.services import Services, ServicesDep
from app.deps.waiting import WaitDep
from app.edits import service
from app.edits.revert_schemas import RevertRequest
from app.edits.revert_service import Wanted, request_revert
from app.edits.schemas import EditPage, EditRequest, EditResource
from app.edits.withdrawal_schemas import WithdrawRequest
from app.edits.withdrawal_service import Leftovers, withdraw
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER, Phrase
from app.kit.paging import page_of
from app.operations import edits as repository
from app.operations import repository as operations
from app.operations.purging import purge_soon

DryRun = Annotated[
    bool, Query(description="Compute, gate and report, but commit nothing: ends as `tried`.")
]

DryRevert = Annotated[
    bool, Query(description="Compute, measure and report, but commit nothing: ends as `tried`.")
]

_MOST_ALIKE = 10  # edits of look-alike subjects that are told of
_EDIT = [require(Scope.EDIT)]
_ADMIN = [require(Scope.ADMIN)]

router = APIRouter(
    prefix="/v1/edits", tags=["edits"], responses=common_responses(400, 404, 409, 413, 422, 503)
)


@router.post(
    "",
    status_code=202,
    dependencies=_EDIT,
    responses=common_responses(429, 507) | {200: {"description": "It ended while waiting."}},
)
async def create_edit(
    body: EditRequest,
    services: ServicesDep,
    once: OnceDep,
    wait: WaitDep,
    response: Response,
    dry_run: DryRun = False,
) -> EditResource:
    """Accept a correction; the worker computes it in its turn."""
    submit = partial(service.submit, services, body, dry_run=dry_run, once=once)
    edit = await run_in_threadpool(submit)
    response.headers.update(edit.headers)
    response.headers["Location"] = f"/v1/edits/{edit.id}"
    if await wait.sees_end_of(edit.id):
        response.status_code = 200
    return await run_in_threadpool(_resource, services, edit.id)


@router.get("", dependencies=_EDIT)
def list_edits(
    services: ServicesDep,
    status: EditStatus | None = None,
    subject: Annotated[Phrase | None, Query()] = None,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EditPage:
    """Edits in the order they were accepted; `subject` is found in all its spellings."""
    with services.database.read() as session:
        found = repository.page(session, after=after, limit=limit, status=status, subject=subject)
        with closing(found) as edits:
            items, following = page_of(edits, EditResource.of, limit, lambda row: row.operation.seq)
    return EditPage(items=items, next=following)


@router.get("/{edit_id}", dependencies=_EDIT)
def get_edit(edit_id: IdPath, services: ServicesDep) -> EditResource:
    """One edit with its report."""
    return _resource(services, edit_id)


@router.delete("/{edit_id}", dependencies=_EDIT)
def cancel_edit(edit_id: IdPath, services: ServicesDep, once: OnceDep) -> EditResource:
    """Cancel an edit the worker has not begun; one of an atomic batch takes all of it along."""
    service.cancel_edit(services, edit_id, once)
    return _resource(services, edit_id)


@router.post(
    "/{edit_id}/requeue", status_code=202, dependencies=_EDIT, responses=common_responses(429)
)
def requeue_edit(edit_id: IdPath, services: ServicesDep, once: OnceDep) -> EditResource:
    """Queue a dead edit again, behind everything that waits; its `seq` becomes a new one."""
    service.requeue_edit(services, edit_id, once)
    return _resource(services, edit_id)


@router.post(
    "/{edit_id}/revert",
    status_code=202,
    dependencies=[require(Scope.ROLLBACK)],
    responses=common_responses(412, 429) | {200: {"description": "It ended while waiting."}},
)
async def revert_edit(
    edit_id: IdPath,
    body: RevertRequest,
    services: ServicesDep,
    once: OnceDep,
    wait: WaitDep,
    response: Response,
    dry_run: DryRevert = False,
) -> OperationResource:
    """Undo one edit, wherever in history it is, as a new revision.

    Other facts of its subject are solved again where they shared its value; where one of them
    would be lost, the revert is rejected unless it is forced. The operation's report tells what
    became of each.
    """
    wanted = Wanted(body.reason, body.force, body.restore, dry_run, body.if_head)
    operation = await run_in_threadpool(request_revert, services, edit_id, wanted, once)
    response.headers["Location"] = f"/v1/operations/{operation}"
    if await wait.sees_end_of(operation):
        response.status_code = 200
    return await run_in_threadpool(_operation, services, operation)


@router.post(
    "/{edit_id}/erase",
    dependencies=_ADMIN,
    responses={202: {"description": "A reader keeps its words in the database's files for now."}},
)
def erase_edit(
    edit_id: IdPath,
    services: ServicesDep,
    once: OnceDep,
    response: Response,
    body: EraseRequest | None = None,
) -> EditResource:
    """Remove the words of an edit that has ended, for ever; weights and ledger keep the proof.

    200 says that nothing of them is left in the database; 202 that this goes on by itself.
    """
    once, left = once.asking(body), Leftovers()
    with services.database.write() as session:
        if once.recall(session) is None:
            if body is not None and body.withdraw:
                left = withdraw(
                    session, edit_id, Why.ERASURE, actor=once.actor, now=services.clock()
                )
            service.erase(session, edit_id, actor=once.actor, now=services.clock())
            once.keep(session, edit_id)
    left.remove(services.settings.data_dir)
    purge_soon(services.database, services.clock)
    found = _resource(services, edit_id)
    response.status_code = 202 if found.erased_at is None else 200
    return found


@router.post("/{edit_id}/withdraw", dependencies=_ADMIN)
def withdraw_revisions(
    edit_id: IdPath, body: WithdrawRequest, services: ServicesDep, once: OnceDep
) -> EditResource:
    """Serve and hand out no more any revision that holds an edit which the head does not hold."""
    once, left = once.asking(body), Leftovers()
    with services.database.write() as session:
        if once.recall(session) is None:
            left = withdraw(session, edit_id, body.why, actor=once.actor, now=services.clock())
            once.keep(session, edit_id)
    left.remove(services.settings.data_dir)
    return _resource(services, edit_id)


def _operation(services: Services, operation_id: str) -> OperationResource:
    with services.database.read() as session:
        return OperationResource.of(operations.get(session, operation_id))


def _resource(services: Services, edit_id: str) -> EditResource:
    with services.database.read() as session:
        edit = repository.get(session, edit_id)
        return EditResource.of(edit, repository.look_alikes(session, edit, _MOST_ALIKE))
