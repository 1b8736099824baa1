"""Events: follow edits while they happen; a lost connection costs nothing but time."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.events import service
from app.events.hub import Hub
from app.events.stream import Listener
from app.keys.access import readmit, require
from app.keys.scopes import Scope
from app.problems import common_responses
from app.services import ActorDep, ServicesDep
from app.text import MAX_INTEGER, IdPath

LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_INTEGER,
        description="The newest event that was seen: the stream goes on with the one after it.",
    ),
]

_NO_MORE: dict[int | str, dict[str, Any]] = {
    204: {"description": "The edit has ended, and every event was seen."}
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
    responses=common_responses(422, 429, 503),
)


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


@router.get("/events", response_class=EventStream)
async def follow_all(listener: ListenerDep, last_event_id: LastEventId = None) -> Response:
    """Every change of an edit's status from now on, or after `Last-Event-ID`; never ends."""
    after = await run_in_threadpool(service.start, listener.database, last_event_id)
    return EventStream(listener.frames(after), headers=_HEADERS)


@router.get(
    "/edits/{edit_id}/events",
    response_class=EventStream,
    responses=_NO_MORE | common_responses(404),
)
async def follow_edit(
    edit_id: IdPath, listener: ListenerDep, last_event_id: LastEventId = None
) -> Response:
    """Every change of one edit's status from the first on; `end` is the last, once it has ended.

    What becomes of a committed edit afterwards is told by `GET /v1/events`, and here to who asks
    again.
    """
    after = await run_in_threadpool(
        service.start_of_edit, listener.database, edit_id, last_event_id
    )
    if after is None:
        return Response(status_code=204)
    return EventStream(listener.frames(after, edit_id), headers=_HEADERS)
