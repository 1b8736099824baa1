import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from app.errors import ClientGone, GenerationFailed
from app.http.disconnect import while_connected
from app.query.chunks import CompletionChunk, CompletionChunkChoice
from app.query.schemas import Usage
from app.query.streaming import events

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


def chunk(**changes: Any) -> CompletionChunk:
    heading: dict[str, Any] = {"id": "cmpl_1", "created": 1, "model": "tiny@2", "revision": 2}
    choice = CompletionChunkChoice(index=0, text="a\n\u2028é")
    return CompletionChunk(**heading | {"choices": [choice]} | changes)


async def spoken(*chunks: CompletionChunk, fail: bool = False) -> AsyncGenerator[CompletionChunk]:
    for item in chunks:
        yield item
    if fail:
        raise GenerationFailed(MemoryError())


async def told(stream: AsyncGenerator[str]) -> list[str]:
    return [event async for event in stream]


def test_a_chunk_is_one_event_of_one_line_and_the_end_is_told() -> None:
    first, last = asyncio.run(told(events(spoken(chunk()), include_usage=False)))
    assert first.startswith("data: ")
    assert first.endswith("\n\n")
    assert "\n" not in first.strip()
    assert json.loads(first.removeprefix("data: ")) == {
        "id": "cmpl_1",
        "object": "text_completion",
        "created": 1,
        "model": "tiny@2",
        "revision": 2,
        "choices": [{"index": 0, "text": "a\n\u2028é", "logprobs": None, "finish_reason": None}],
    }
    assert last == "data: [DONE]\n\n"


def test_usage_is_null_until_the_last_chunk_has_it() -> None:
    chunks = spoken(chunk(), chunk(choices=[], usage=USAGE))
    found = asyncio.run(told(events(chunks, include_usage=True)))[:-1]
    first, last = (json.loads(event.removeprefix("data: ")) for event in found)
    assert first["usage"] is None
    assert last["usage"] == USAGE.model_dump()
    assert last["choices"] == []


def test_an_error_after_the_start_is_the_last_event() -> None:
    found = asyncio.run(told(events(spoken(chunk(), fail=True), include_usage=False)))
    assert len(found) == 2
    error = json.loads(found[-1].removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "generation_failed")


def request_that_ends(ended: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await ended.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def test_work_is_cancelled_when_its_client_goes_away() -> None:
    async def scenario() -> bool:
        ended, cancelled = asyncio.Event(), False

        async def work() -> None:
            nonlocal cancelled
            try:
                ended.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise

        with pytest.raises(ClientGone):
            await while_connected(request_that_ends(ended), work())
        return cancelled

    assert asyncio.run(scenario())


def test_work_that_ends_first_gives_its_result_or_its_error() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    async def answer() -> int:
        return 7

    async def scenario() -> int:
        request = request_that_ends(asyncio.Event())
        with pytest.raises(LookupError):
            await while_connected(request, fail())
        return await while_connected(request, answer())

    assert asyncio.run(scenario()) == 7
