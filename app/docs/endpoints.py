"""The API's description for people: Swagger UI, served from here so that nothing is loaded."""

from pathlib import Path

from fastapi import APIRouter, Response

_STATIC = Path(__file__).parent / "static"
_KEPT = {"Cache-Control": "public, max-age=86400"}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def page() -> Response:
    """The page itself."""
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
