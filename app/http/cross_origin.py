"""Pages of other origins, where the operator names them: CORS.

A browser lets such a page read answers only if they say so. It is no way in: the page needs a key,
and a service without keys refuses every page from elsewhere, whatever is named here
(`app.access.origin`).
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.http.problems import MEDIA_TYPE, problem_document

_KEPT_S = 600  # how long a browser remembers what it may send
_METHODS = ("GET", "HEAD", "POST", "DELETE")
#: headers of answers that a page may read besides those that every page may
_READABLE = (
    "Content-Disposition",
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "X-Revision",
    "X-Weights-Digest",
)


class CrossOrigin(CORSMiddleware):
    """ASGI middleware that tells browsers whose pages may ask; cookies are never among it.

    Args:
        app: What answers.
        origins: Scheme, host and port of each page that may, exactly.
        readable: Headers of answers that such a page may read beside those of every answer.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], readable: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=(*_READABLE, *readable),
            max_age=_KEPT_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a browser is told that asks beforehand."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        detail = (
            f"{bytes(response.body).decode()}: ERRATA_CORS_ORIGINS names the origins whose pages "
            f"may ask, by {', '.join(_METHODS)}"
        )
        return Response(
            problem_document(403, "cross_origin", detail),
            status_code=403,
            media_type=MEDIA_TYPE,
            headers={"Vary": response.headers["Vary"]},
        )
