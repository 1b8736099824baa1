"""Requests whose client may go away."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request

from app.errors import ClientGone

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[object, object, T]) -> T:
    """The result of `work`; it is cancelled when the client goes away.

    Raises:
        ClientGone: The client went away.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass  # the body was read before; what comes is the end of the connection
