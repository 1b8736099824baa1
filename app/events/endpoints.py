"""Events: follow edits while they happen; a lost connection costs nothing but time."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.access.require import DoorkeeperDep, readmit, require
from app.access.scopes import Scope, key_of
from app.deps.services import ActorDep, ServicesDep
from app.events import service
from app.events.hub import Hub
from app.events.schemas import TicketResource
from app.events.stream import Listener
from app.http.paths import IdPath
from app.http.problems import common_responses
from app.kit.fields import MAX_INTEGER

LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_INTEGER,
        description="The newest event that was seen: the stream goes on with the one after it.",
    ),
]

After = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_INTEGER,
        description="The same for a browser's new EventSource, which sends no header yet.",
    ),
]


async def _seen(last_event_id: LastEventId = None, after: After = None) -> service.Seen:
    if last_event_id is None and after is not None:
        return service.Seen(after, "after")
    return service.Seen(last_event_id, "Last-Event-ID")


SeenDep = Annotated[service.Seen, Depends(_seen)]

_NO_MORE: dict[int | str, dict[str, Any]] = {
    204: {"description": "The edit has ended, and every event was seen."}
}
# `Authentication` reads it before any route is reached, so that it is no parameter of one.
_BY_TICKET = {
    "parameters": [
        {
            "name": "ticket",
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": "Of `POST /v1/events/tickets`, in place of a key.",
        }
    ]
}
# A proxy that collects a stream before it passes it on defeats its purpose.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


router = APIRouter(
    prefix="/v1",
    tags=["events"],
    dependencies=[require(Scope.EDIT)],
    responses=common_responses(422, 503),
)
_LISTENING = common_responses(429)


async def _hub(request: Request) -> Hub:
    hub: Hub = request.state.hub
    return hub


async def _listener(
    request: Request,
    services: ServicesDep,
    actor: ActorDep,
    hub: Annotated[Hub, Depends(_hub)],
) -> AsyncIterator[Listener]:
    """Who asks, with a place that is free again once the answer has ended, however it does."""
    again = partial(readmit, request)
    with services.budgets.listeners.opened(actor), hub.listening():
        yield Listener(hub, services.database, services.settings.keep_alive_s, again)


ListenerDep = Annotated[Listener, Depends(_listener)]


@router.post("/events/tickets", status_code=201)
async def create_ticket(doorkeeper: DoorkeeperDep, actor: ActorDep) -> TicketResource:
    """For half a minute, a stream of events may be opened with `?ticket=` in place of the key.

    It is for `EventSource`, which sends no headers. It opens nothing else, and ends with its key.
    """
    key_id = key_of(actor)
    if key_id is None:  # open mode needs none
        return TicketResource(ticket="none", expires_at=None)
    ticket = await run_in_threadpool(doorkeeper.issue_ticket, key_id)
    return TicketResource(ticket=ticket.text, expires_at=ticket.ends_at)


@router.get("/events", response_class=EventStream, responses=_LISTENING, openapi_extra=_BY_TICKET)
async def follow_all(listener: ListenerDep, seen: SeenDep) -> Response:
    """Every change of an edit's status from now on, or after `Last-Event-ID`; never ends."""
    after = await run_in_threadpool(service.start, listener.database, seen)
    return EventStream(listener.frames(after), headers=_HEADERS)


@router.get(
    "/edits/{edit_id}/events",
    response_class=EventStream,
    responses=_NO_MORE | _LISTENING | common_responses(404),
    openapi_extra=_BY_TICKET,
)
async def follow_edit(edit_id: IdPath, listener: ListenerDep, seen: SeenDep) -> Response:
    """Every change of one edit's status from the first on; `end` is the last, once it has ended.

    What becomes of a committed edit afterwards is told by `GET /v1/events`, and here to who asks
    again.
    """
    after = await run_in_threadpool(service.start_of_edit, listener.database, edit_id, seen)
    if after is None:
        return Response(status_code=204)
    return EventStream(listener.frames(after, edit_id), headers=_HEADERS)
