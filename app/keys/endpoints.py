"""API keys: who may ask the service for what."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.access import repository, service
from app.access.require import DoorkeeperDep, require
from app.access.scopes import LOCAL, Scope
from app.deps.idempotency import OnceDep
from app.deps.services import ServicesDep
from app.errors import FirstKeyByCommand, KeyMadeBefore
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.keys.schemas import CreatedKey, KeyPage, KeyRequest, KeyResource, RevokedKeyResource
from app.kit.fields import MAX_INTEGER
from app.kit.paging import page_of
from app.operations.lifecycle import tell_cancelled

CancelQueued = Annotated[
    bool, Query(description="Cancel as well what the key has queued and no worker has begun.")
]

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    dependencies=[require(Scope.ADMIN)],
    responses=common_responses(400, 404, 413, 422, 503),
)


@router.post("", status_code=201, responses=common_responses(409))
def create_key(
    body: KeyRequest, services: ServicesDep, once: OnceDep, response: Response
) -> CreatedKey:
    """Make a key. Its secret is in this answer and nowhere else.

    Sent again with the same Idempotency-Key, it is refused by the id of the key it made: 409. The
    first one is made by the command line: in open mode the caller is not known.
    """
    if once.actor == LOCAL.actor:
        raise FirstKeyByCommand(services.settings.data_dir)
    once = once.asking(body)
    with services.database.write() as session:
        known = once.recall(session)
        if known is not None:
            raise KeyMadeBefore(known)
        key, token = service.create(
            session, services.settings, body.to_new_key(), actor=once.actor, now=services.clock()
        )
        once.keep(session, key.id)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey.made(key, token)


@router.get("")
def list_keys(
    services: ServicesDep,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> KeyPage:
    """Keys in the order they were made, also those that no longer count."""
    with services.database.read() as session:
        found = repository.page(session, after=after, limit=limit)
    items, following = page_of(found, KeyResource.of, limit, lambda row: row.ledger_index)
    return KeyPage(items=items, next=following)


@router.get("/{key_id}")
def get_key(key_id: IdPath, services: ServicesDep) -> KeyResource:
    """One key, without its secret."""
    with services.database.read() as session:
        return KeyResource.of(repository.shown(session, key_id))


@router.delete("/{key_id}", responses=common_responses(409))
def revoke_key(
    key_id: IdPath,
    services: ServicesDep,
    doorkeeper: DoorkeeperDep,
    once: OnceDep,
    cancel_queued: CancelQueued = False,
) -> RevokedKeyResource:
    """Have a key count no longer, from the next request on."""
    once = once.asking({"cancel_queued": cancel_queued})
    with services.database.write() as session:
        known = once.recall(session)
        if known is not None:
            return RevokedKeyResource.revoked(repository.shown(session, key_id), int(known))
        revoked = service.revoke(
            session, key_id, actor=once.actor, now=services.clock(), cancel_queued=cancel_queued
        )
        cancelled = len(revoked.cancelled)
        once.keep(session, str(cancelled))
        answer = RevokedKeyResource.revoked(revoked.key, cancelled)
    doorkeeper.forget(key_id)
    tell_cancelled(revoked.cancelled)
    return answer
