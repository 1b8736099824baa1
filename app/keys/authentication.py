"""Nothing but the pages named here is reached by a caller who is not known."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app.errors import ErrataError
from app.problems import error_response

#: what everybody may see, key or none
PUBLIC = frozenset(
    {
        "/docs",
        "/docs/start.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/healthz",
        "/openapi.json",
        "/readyz",
    }
)


class Authentication:
    """ASGI middleware that finds out who asks, before a body is read or a route is chosen.

    The routes' scopes are held against `request.state.caller`; a route that declares none is still
    closed to strangers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            request = Request(scope)
            header = request.headers.get("authorization")
            try:
                caller = await run_in_threadpool(request.state.doorkeeper.admit, header)
            except ErrataError as error:
                await error_response(request, error)(scope, receive, send)
                return
            request.state.caller = caller
            bind_contextvars(actor=caller.actor)
        await self.app(scope, receive, send)
