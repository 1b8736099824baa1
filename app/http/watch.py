"""Every request: given an id, timed, counted and told of when it ends."""

import re
import secrets
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.http.tracing import traced
from app.kit.logs import get_logger
from app.metrics.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-ID"
REVISION_HEADER = "X-Revision"

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: what it counts as when no answer was begun
_BROKEN_OFF: Message = {"status": 500, "headers": []}
_log = get_logger(__name__)
#: set in the scope of a request whose refusal is only counted, so that nothing else tells of it
UNTOLD = "errata.untold"


class RequestWatch:
    """ASGI middleware, the outermost: what it does not see has not happened.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, answer = _request_id(scope), _BROKEN_OFF
        # Not unbound at the end: what handles and logs a bug is further out than any middleware.
        clear_contextvars()
        bind_contextvars(request_id=request_id, **traced(request_id))
        started = perf_counter()

        async def noting(message: Message) -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                answer = message
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._ended(scope, answer, perf_counter() - started)

    def _ended(self, scope: Scope, answer: Message, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route, status = route_template(scope), answer["status"]
        self.metrics.requests.labels(method, route, status).inc()
        self.metrics.request_seconds.labels(method, route).observe(seconds)
        if scope.get(UNTOLD):
            return
        revision = Headers(raw=answer["headers"]).get(REVISION_HEADER)
        _log.info(
            "request_finished",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **({} if revision is None else {"revision": int(revision)}),
        )


def route_template(scope: Scope) -> str:
    """The template of the route that took a request, such as `/v1/edits/{edit_id}`, or `none`.

    A path itself is somebody's text: it goes neither into a label nor into a log.
    """
    context = scope.get("fastapi", {}).get("effective_route_context")
    return str(getattr(context or scope.get("route"), "path_format", "none"))


def _request_id(scope: Scope) -> str:
    """The client's own id if it is one that a log may hold, or a new one."""
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
