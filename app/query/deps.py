"""What handlers of queries depend on."""

from typing import Annotated

from fastapi import Depends, Request

from app.query.service import QueryService


async def _query_service(request: Request) -> QueryService:
    """The queries on the model.

    Raises:
        ModelNotReady: There is none yet.
    """
    service: QueryService = request.state.query.get()
    return service


QueryDep = Annotated[QueryService, Depends(_query_service)]
