"""What every answer tells a browser: to run, embed, guess and keep nothing of it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DATA_ONLY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI writes styles into its elements; scripts come from files only.
_SWAGGER = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: pages for browsers, by path: what each may load, all of it from here
_PAGES = {"/docs": _SWAGGER}

#: headers of an answer that is made before there is a request
API_HEADERS = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {
        **_EVERYWHERE,
        "Content-Security-Policy": _DATA_ONLY,
        "Cache-Control": "no-store",
    }.items()
)


class SecurityHeaders:
    """ASGI middleware around everything else, so that an answer to a bug has them, too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self.app(scope, receive, guarded)


def _complete(headers: MutableHeaders, path: str) -> None:
    for name, value in _EVERYWHERE.items():
        headers[name] = value
    headers["Content-Security-Policy"] = _PAGES.get(path, _DATA_ONLY)
    # What has an ETag may be kept if it is asked for again each time.
    headers.setdefault("Cache-Control", "private, no-cache" if "ETag" in headers else "no-store")
