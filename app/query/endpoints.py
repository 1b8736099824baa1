"""The OpenAI-compatible query API, and probes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.keys.access import require
from app.keys.scopes import Scope
from app.problems import common_responses
from app.query.schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    Model,
    ModelList,
    ProbeRequest,
    ProbeResponse,
)
from app.query.service import QueryService
from app.serving import require_model

REVISION_HEADER = "X-Revision"

router = APIRouter(
    prefix="/v1",
    tags=["query"],
    dependencies=[require(Scope.QUERY), Depends(require_model)],
    responses=common_responses(400, 404, 413, 422, 503),
)


async def _query_service(request: Request) -> QueryService:
    service: QueryService = request.state.query
    return service


QueryDep = Annotated[QueryService, Depends(_query_service)]


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


@router.post("/completions")
async def create_completion(
    body: CompletionRequest, query: QueryDep, response: Response
) -> Completion:
    """Continue one or several prompts."""
    completion = await query.complete(body)
    response.headers[REVISION_HEADER] = str(completion.revision)
    return completion


@router.post("/chat/completions")
async def create_chat_completion(
    body: ChatRequest, query: QueryDep, response: Response
) -> ChatCompletion:
    """Answer a conversation."""
    completion = await query.chat(body)
    response.headers[REVISION_HEADER] = str(completion.revision)
    return completion


@router.post("/probe")
async def create_probe(body: ProbeRequest, query: QueryDep) -> ProbeResponse:
    """How probable given texts are after given prompts, under several revisions."""
    return await query.probe(body)
