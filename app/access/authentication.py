"""Nothing but the pages named here is reached by a caller who is not known."""

from collections.abc import Sequence
from time import monotonic

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app.access.acquaintances import KNOWN_FOR
from app.access.origin import check_host, check_local
from app.access.require import admit, readmit
from app.access.scopes import LOCAL
from app.errors import DatabaseUnavailable, ErrataError
from app.http.problems import error_response

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
# Says only that the process lives, so every caller may ask.
_HARMLESS = "/healthz"
# How long an answer may still be sent after its key was revoked or expired, in seconds.
_READMITTED_EVERY_S = 5.0


class Authentication:
    """ASGI middleware that finds out who asks, before a body is read or a route is chosen.

    The routes' scopes are held against `request.state.caller`; a route that declares none is still
    closed to strangers.

    Args:
        app: What answers.
        hosts: The names that the service is reached by; any, without one.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] == _HARMLESS:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if self.hosts:
                check_host(scope, self.hosts)
            if scope["path"] in PUBLIC:
                await _check_public(request)
            else:
                await _identify(request)
                send = _Readmission(request, send)
        except ErrataError as error:
            request.state.refusals.note(request, error)
            await error_response(request, error)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except _AnswerCutError:
            return  # the server closes the connection: what was sent is visibly not all


class _AnswerCutError(Exception):
    """The key that an answer is for is no longer valid."""


class _Readmission:
    """Sends an answer for as long as the key that asked for it counts.

    An answer in one piece is sent; for one in many pieces that takes long, the key is looked at
    again. While that cannot be done, the answer goes on for as long as keys are known.
    """

    def __init__(self, request: Request, send: Send) -> None:
        self._request, self._send = request, send
        self._asked_at = monotonic()

    async def __call__(self, message: Message) -> None:
        """Send one part of an answer."""
        asked_at = max(self._asked_at, self._request.state.admitted_at)
        if message.get("more_body") and monotonic() - asked_at > _READMITTED_EVERY_S:
            await self._ask_again()
        await self._send(message)

    async def _ask_again(self) -> None:
        try:
            await readmit(self._request)
        except ErrataError as error:
            unknown_for_s = monotonic() - self._request.state.admitted_at
            if isinstance(error, DatabaseUnavailable) and unknown_for_s < KNOWN_FOR.total_seconds():
                self._asked_at = monotonic()
                return
            self._request.state.refusals.note(self._request, error)
            raise _AnswerCutError from error


async def _identify(request: Request) -> None:
    caller = await admit(request)
    if caller is LOCAL:
        check_local(request.scope)
    request.state.caller = caller
    bind_contextvars(actor=caller.actor)


async def _check_public(request: Request) -> None:
    """Show the public pages of an open service to this machine only, as everything else of it."""
    try:
        check_local(request.scope)
    except ErrataError:
        if await request.state.doorkeeper.is_open_async():
            raise
