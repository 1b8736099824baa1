"""The OpenAI-compatible query API, and probes."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from app.access.require import require
from app.access.scopes import Scope
from app.http.disconnect import while_connected
from app.http.problems import common_responses
from app.http.watch import REVISION_HEADER
from app.kit.fields import MAX_INTEGER
from app.query.chat import ChatReply
from app.query.completions import CompletionAnswer
from app.query.deps import QueryDep
from app.query.freshness import MIN_REVISION_HEADER
from app.query.reservation import Reservation, ReservationDep
from app.query.schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    GenerationRequest,
    Model,
    ModelList,
    ProbeRequest,
    ProbeResponse,
)
from app.query.service import QueryService
from app.query.streaming import MEDIA_TYPE, event_stream

router = APIRouter(
    prefix="/v1",
    tags=["query"],
    dependencies=[require(Scope.QUERY)],
    responses=common_responses(400, 404, 410, 413, 422, 503),
)
# The same, but for paths that OpenAI has not.
probe_router = APIRouter(
    prefix="/v1",
    tags=["query"],
    dependencies=router.dependencies,
    responses=router.responses,
)
#: the oldest head that may answer
MinRevision = Annotated[int, Header(alias=MIN_REVISION_HEADER, ge=0, le=MAX_INTEGER)]
_LIMITED = common_responses(429)
_STREAMED: dict[int | str, dict[str, Any]] = _LIMITED | {
    200: {"content": {MEDIA_TYPE: {}}, "description": "The answer, or its chunks as events"}
}


@router.get("/models")
async def list_models(query: QueryDep, response: Response) -> ModelList:
    """The model that is served; `<name>@<revision>` is accepted wherever a model is named."""
    models = query.models()
    response.headers[REVISION_HEADER] = str(models.data[0].revision)
    return models


@router.get("/models/{model}")
async def get_model(model: str, query: QueryDep, response: Response) -> Model:
    """One model by name, or by name and revision."""
    found = await query.model(model)
    response.headers[REVISION_HEADER] = str(found.revision)
    return found


@router.get("/models/{owner}/{model}", include_in_schema=False)
async def get_model_of_owner(owner: str, model: str, query: QueryDep, response: Response) -> Model:
    """The same for a name with a slash, as many models elsewhere have; none here has."""
    return await get_model(f"{owner}/{model}", query, response)


@router.post("/completions", response_model=Completion, responses=_STREAMED)
async def create_completion(
    body: CompletionRequest,
    query: QueryDep,
    reservation: ReservationDep,
    request: Request,
    min_revision: MinRevision = 0,
) -> Response:
    """Continue one or several prompts."""
    answering = partial(query.complete, body, min_revision, reservation)
    return await _answer(body, answering, query, reservation, request)


@router.post("/chat/completions", response_model=ChatCompletion, responses=_STREAMED)
async def create_chat_completion(
    body: ChatRequest,
    query: QueryDep,
    reservation: ReservationDep,
    request: Request,
    min_revision: MinRevision = 0,
) -> Response:
    """Answer a conversation."""
    replying = partial(query.chat, body, min_revision, reservation)
    return await _answer(body, replying, query, reservation, request)


async def _answer(
    body: GenerationRequest,
    answering: Callable[[], Coroutine[object, object, CompletionAnswer | ChatReply]],
    query: QueryService,
    reservation: Reservation,
    request: Request,
) -> Response:
    """An answer as a document, or as a stream of its chunks."""
    if body.stream:
        reservation.stream()
    answer = await while_connected(request, answering())
    await reservation.need_no_more_than(answer.most_tokens)
    headers = {**reservation.headers, REVISION_HEADER: str(answer.heading["revision"])}
    if body.stream:
        return event_stream(answer.chunks(), headers, include_usage=body.include_usage)
    document = await while_connected(request, query.document(answer))
    return Response(document, media_type="application/json", headers=headers)


@probe_router.post("/probe", responses=_LIMITED)
async def create_probe(
    body: ProbeRequest,
    query: QueryDep,
    reservation: ReservationDep,
    request: Request,
    min_revision: MinRevision = 0,
) -> ProbeResponse:
    """How probable given texts are after given prompts, under several revisions."""
    return await while_connected(request, query.probe(body, min_revision, reservation))
