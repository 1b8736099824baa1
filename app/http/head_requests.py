"""HEAD: the answer that GET would get, without its body; monitors and download managers ask so."""

import asyncio
from contextvars import copy_context

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, get_contextvars


class HeadRequests:
    """ASGI middleware that answers HEAD wherever GET is answered.

    Every route says GET only, and needs no second operation in the API's description. An answer
    whose body comes in parts, a file or a stream without end, is not made any further.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answer = _HeadOfAnswer(send)
        asked = {**scope, "method": "GET"}
        context = copy_context()
        answering = asyncio.create_task(self._answer(asked, receive, answer), context=context)
        cut_off = asyncio.ensure_future(answer.is_cut_off.wait())
        try:
            await asyncio.wait({answering, cut_off}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            answering.cancel()
            cut_off.cancel()
            await asyncio.gather(answering, cut_off, return_exceptions=True)
            # What was noted of it inside, its route and its actor, is counted and logged outside.
            scope.update(asked | {"method": "HEAD"})
            bind_contextvars(**context.run(get_contextvars))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _HeadOfAnswer:
    """Sends the head of an answer, and an empty body.

    Attributes:
        is_cut_off: Set once nothing more is sent although more was to come.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_sent = False
        self.is_cut_off = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        """Take one part of the answer that GET would get."""
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        if not self._is_sent:
            self._is_sent = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if message.get("more_body"):
            self.is_cut_off.set()
