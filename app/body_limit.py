"""Refuse request bodies that are too large, whether or not they say so beforehand."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import problem_response


class BodyLimit:
    """ASGI middleware that answers 413 to a body of more than `max_bytes`.

    FastAPI's own `max_body_size` answers in plain text; every error here is a problem document.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self.max_bytes:
            response = problem_response(
                request, status=413, code="content_too_large", detail=self._detail()
            )
            await response(scope, receive, send)
            return
        await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # FastAPI passes an HTTPException through its body parsing; others become a 400.
                raise HTTPException(status_code=413, detail=self._detail())
            return message

        return limited

    def _detail(self) -> str:
        return f"the body is larger than the {self.max_bytes} bytes this service accepts"
