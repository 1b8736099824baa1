"""The API's description: for programs, and for people in a Swagger UI that loads nothing else."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

_STATIC = Path(__file__).parent / "static"
_KEPT = {"Cache-Control": "public, max-age=86400"}

router = APIRouter(include_in_schema=False)


@router.api_route("/openapi.json", methods=["GET", "HEAD"])
async def description(request: Request) -> Response:
    """The description itself."""
    content = await request.state.description.content()
    return Response(content, media_type="application/json")


@router.get("/docs")
def page() -> Response:
    """The page of Swagger UI."""
    return _file("index.html", "text/html")


@router.get("/docs/start.js")
def start() -> Response:
    """What starts Swagger UI; in a file, since the page may hold no scripts."""
    return _file("start.js", "text/javascript")


@router.get("/docs/swagger-ui-bundle.js")
def script() -> Response:
    """Swagger UI."""
    return _file("swagger-ui-bundle.js", "text/javascript", _KEPT)


@router.get("/docs/swagger-ui.css")
def styles() -> Response:
    """How it looks."""
    return _file("swagger-ui.css", "text/css", _KEPT)


def _file(name: str, media_type: str, headers: dict[str, str] | None = None) -> Response:
    return Response((_STATIC / name).read_bytes(), media_type=media_type, headers=headers)
