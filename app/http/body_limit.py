"""Request bodies: read whole within limits, before anything is made of them."""

import json
import re
from dataclasses import dataclass
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ClientGone
from app.http.problems import error_response, problem_response
from app.settings import Settings

# Possessive, and content with no end: whatever the body, each byte is looked at once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)

_CODING_CHARS = 40


class BodyLimit:
    """ASGI middleware that refuses bodies which cost more than they can be worth.

    FastAPI's own `max_body_size` answers in plain text; every error here is a problem document.
    Validation reports each unknown field, and so may cost a thousand times what was sent: JSON is
    held against limits before.
    """

    def __init__(self, app: ASGIApp, limits: "BodyLimits") -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _has_body(request := Request(scope, receive)):
            await self.app(scope, receive, send)
            return
        try:
            _check_coding(request)
            body = await self._read(request)
            self._check(request, body)
        except ClientDisconnect:
            # The client has gone; the answer only decides how the request is counted.
            await error_response(request, ClientGone())(scope, receive, send)
            return
        except _Excess as excess:
            response = problem_response(
                request,
                status=excess.status,
                code=excess.code,
                detail=str(excess),
                headers=excess.headers,
            )
            await response(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, request: Request) -> bytes:
        most = self.limits.max_bytes
        if _exceeds(request.headers.get("content-length", ""), most):
            raise _too_large(most)
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
        return b"".join(parts)

    def _check(self, request: Request, body: bytes) -> None:
        if "json" in request.headers.get("content-type", "").lower():
            self.limits.check(body)


@dataclass(frozen=True)
class BodyLimits:
    """What a body may hold.

    Attributes:
        max_bytes: Its size.
        max_containers: Its lists and objects, all of them.
        max_fields: Fields of one object.
    """

    max_bytes: int
    max_containers: int = 100_000
    max_fields: int = 64

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the operator allows."""
        return cls(settings.max_body_bytes)

    def check(self, body: bytes) -> None:
        """Hold JSON against the limits; what is no JSON is left to who reads it.

        Raises:
            _Excess: It holds too much.
        """
        if _containers(body) > self.max_containers:
            # Brackets within texts are none; to tell them costs ten times as much.
            found = _containers(_STRING.sub(b"", body))
            if found > self.max_containers:
                raise _Excess(
                    f"the body holds {found} lists and objects; "
                    f"at most {self.max_containers} are accepted"
                )
        try:
            json.loads(body, object_pairs_hook=self._count)
        except (ValueError, RecursionError):
            return

    def _count(self, pairs: list[tuple[str, object]]) -> None:
        if len(pairs) > self.max_fields:
            raise _Excess(
                f"an object of the body has {len(pairs)} fields; "
                f"at most {self.max_fields} are accepted"
            )


class _Excess(Exception):
    def __init__(
        self,
        detail: str,
        *,
        status: int = 422,
        code: str = "too_many_values",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.headers = status, code, headers


def _too_large(most: int) -> _Excess:
    detail = f"the body is larger than the {most} bytes this service accepts"
    return _Excess(detail, status=413, code="content_too_large")


def _check_coding(request: Request) -> None:
    """Refuse what would have to be decompressed: its size could not be told beforehand.

    Raises:
        _Excess: The body is compressed.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise _Excess(
            f"the body has Content-Encoding {coding[:_CODING_CHARS]!r}, and bodies are not "
            "decompressed; send it as it is",
            status=415,
            code="unsupported_media_type",
            headers={"Accept-Encoding": "identity"},
        )


def _has_body(request: Request) -> bool:
    return (
        "transfer-encoding" in request.headers
        or request.headers.get("content-length", "0").strip("0") != ""
    )


def _exceeds(announced: str, most: int) -> bool:
    """Whether a number in digits is larger; `int` refuses the longest ones."""
    if not (announced.isascii() and announced.isdigit()):
        return False
    digits = announced.lstrip("0")
    return len(digits) > len(str(most)) or int(digits or "0") > most


def _containers(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[")


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
