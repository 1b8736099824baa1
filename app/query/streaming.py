"""Server-sent events as OpenAI's clients read them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse

from app.errors import ErrataError
from app.http.problems import ErrorObject
from app.query.chunks import ChatChunk, CompletionChunk

Chunks = AsyncGenerator[CompletionChunk] | AsyncGenerator[ChatChunk]

MEDIA_TYPE = "text/event-stream"
# A proxy that collects a stream before it passes it on defeats its purpose.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event_stream(
    chunks: Chunks, headers: dict[str, str], *, include_usage: bool
) -> StreamingResponse:
    """The response that sends chunks as they come."""
    return StreamingResponse(
        events(chunks, include_usage=include_usage),
        media_type=MEDIA_TYPE,
        headers=_HEADERS | headers,
    )


async def events(chunks: Chunks, *, include_usage: bool) -> AsyncGenerator[str]:
    """One event a chunk, and `[DONE]`; or, if it comes to no good end, the error as the last."""
    unsent = None if include_usage else {"usage"}
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield f"data: {chunk.model_dump_json(exclude=unsent)}\n\n"
                # Chunks that wait already, to a client that takes them, would not let others in.
                await asyncio.sleep(0)
    except ErrataError as error:
        yield f"data: {json.dumps({'error': _error_object(error).model_dump()})}\n\n"
    else:
        yield "data: [DONE]\n\n"


def _error_object(error: ErrataError) -> ErrorObject:
    return ErrorObject(
        message=error.message, type="server_error", param=error.field, code=error.code
    )
