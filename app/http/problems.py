"""Problem documents (RFC 9457) that also carry the `error` object OpenAI clients read."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response
from structlog.contextvars import get_contextvars

from app.errors import ErrataError, Unavailable
from app.http.watch import REQUEST_ID_HEADER
from app.kit.characters import escaped
from app.kit.logs import get_logger

MEDIA_TYPE = "application/problem+json"

_FIELD_CHARS = 120
_DETAIL_CHARS = 1_000  # a message may name a value that was sent
_MOST_ERRORS = 20
_TYPES: dict[int, str] = {429: "rate_limit_error"}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
_log = get_logger(__name__)


class ErrorObject(BaseModel):
    """What OpenAI's own clients read out of an error answer."""

    model_config = ConfigDict(extra="forbid")

    message: str
    type: str
    param: str | None
    code: str


class FieldProblem(BaseModel):
    """One unusable field of a request."""

    model_config = ConfigDict(extra="forbid")

    field: str
    message: str
    code: str


class Problem(BaseModel):
    """The body of every error answer."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: ErrorObject
    errors: list[FieldProblem] | None = None
    errors_omitted: int | None = None
    """How many more there are than `errors` lists."""


class ProblemResponse(Response):
    """A problem document, escaped to ASCII so that no input can make it unencodable."""

    media_type = MEDIA_TYPE

    def render(self, content: Problem) -> bytes:
        """The document as bytes."""
        empty = {name for name in ("errors", "errors_omitted") if not getattr(content, name)}
        document = content.model_dump(exclude=empty)
        return json.dumps(document, ensure_ascii=True, allow_nan=False).encode("ascii")


def problem_response(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    field: str | None = None,
    errors: Sequence[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> ProblemResponse:
    """One problem document for this request."""
    problem = _problem(
        status, code, detail, instance=request.scope["path"], field=field, errors=errors
    )
    return ProblemResponse(problem, status_code=status, headers=headers)


def problem_document(status: int, code: str, detail: str) -> bytes:
    """The body of an answer to what never became a request."""
    return bytes(ProblemResponse(_problem(status, code, detail)).body)


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str = "",
    field: str | None = None,
    errors: Sequence[FieldProblem] = (),
) -> Problem:
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    told = _shortened(detail, _DETAIL_CHARS)
    return Problem(
        type=f"urn:errata:problem:{code.replace('_', '-')}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=told,
        instance=_shortened(instance, _DETAIL_CHARS),
        error=ErrorObject(message=told, type=kind, param=field, code=code),
        errors=list(errors[:_MOST_ERRORS]) or None,
        errors_omitted=max(0, len(errors) - _MOST_ERRORS) or None,
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def common_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problem answers of a router."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": schema} for status in statuses
    }
    if 429 in described:
        described[429]["headers"] = _RETRY_AFTER
    return described


def install(app: FastAPI) -> None:
    """Make every error answer of `app` a problem document."""
    app.add_exception_handler(ErrataError, _on_errata_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


async def _on_errata_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ErrataError)  # noqa: S101 - registered for this class only
    return error_response(request, error)


def error_response(request: Request, error: ErrataError) -> ProblemResponse:
    """The problem document of something that the service refuses or fails at."""
    if error.status == 500:
        _log.error("request_failed", code=error.code, exception=type(error).__name__)
    if isinstance(error, Unavailable) and error.cause:
        _log.warning("unavailable", code=error.code, cause=error.cause)
    return problem_response(
        request,
        status=error.status,
        code=error.code,
        detail=error.message,
        field=error.field,
        headers=error.headers,
    )


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    problems = [_field_problem(dict(item)) for item in error.errors()]
    first = problems[0]
    unreadable = first.code == "json_invalid"
    return problem_response(
        request,
        status=400 if unreadable else 422,
        code="invalid_json" if unreadable else "invalid_request",
        detail=f"{first.field}: {first.message}" if first.field else first.message,
        field=first.field or None,
        errors=problems,
    )


def _field_problem(error: dict[str, Any]) -> FieldProblem:
    # pydantic also offers `input` and `ctx`: both may hold what was sent, so neither is used.
    code, location = str(error["type"]), tuple(error["loc"])
    if code == "json_invalid":
        message = f"the body is not valid JSON from character {location[-1] + 1} on"
        return FieldProblem(field="", message=message, code=code)
    field = field_name(location)
    if not field:
        message = "the body must be a JSON object, sent with Content-Type: application/json"
        return FieldProblem(field="", message=message, code=code)
    message = str(error["msg"]).removeprefix("Value error, ")
    if code == "extra_forbidden":
        message = "this field is not known; remove it or correct its spelling"
    if code == "missing":
        message = "this field is required"
    return FieldProblem(field=field, message=_shortened(message, _DETAIL_CHARS), code=code)


def field_name(location: Sequence[int | str]) -> str:
    """Where in the request an error is: `neighbours[0].prompt`; empty for the body as a whole."""
    name = ""
    for part in location[1:]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    # Names of fields that are not known are the client's own.
    return _shortened(escaped(name), _FIELD_CHARS)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    status = HTTPStatus(error.status_code)
    details = {
        404: "nothing is served under this path; /docs and /openapi.json list what is",
        405: f"{request.method} is not served under this path; the header Allow lists what is",
    }
    generic = error.detail == status.phrase
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem_response(
        request,
        status=status,
        code="content_too_large" if status == 413 else status.name.lower(),
        detail=details.get(status, error.detail) if generic else error.detail,
        headers=headers,
    )


def _allowed(request: Request) -> list[str]:
    """The methods of all routes that the path belongs to; each route knows its own alone."""
    allowed = {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path_regex.match(request.scope["path"])
        for method in route.methods or ()
    }
    return sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))


async def _on_bug(request: Request, error: Exception) -> Response:
    del error  # the server logs it with its traceback; the client learns nothing of it
    return problem_response(
        request,
        status=500,
        code="internal_error",
        detail="the service failed on this request; nothing was changed by it",
        # Made outside of the middleware that gives every other answer its id.
        headers={REQUEST_ID_HEADER: str(get_contextvars().get("request_id"))},
    )
