"""Every answer tells a browser to guess, run, embed and keep nothing."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from app.main import Components, create_app
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import bearer, keyed
from tests.support.local_client import local_client
from tests.support.service import FACT, load_nothing

pytestmark = only_sqlite


@pytest.fixture
def with_bug(settings: Settings) -> Iterator[TestClient]:
    """The service with a page that fails."""
    app = create_app(settings, components=Components(start_runtime=load_nothing))

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError

    with local_client(app) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/v1/edits", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/healthz", 405),
        ("POST", "/v1/edits", 422),
        ("GET", "/readyz", 503),
        ("GET", "/bug", 500),
    ],
)
def test_an_answer_has_them_whatever_it_is(
    with_bug: TestClient, method: str, path: str, status: int
) -> None:
    answer = with_bug.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"
    assert "Server" not in answer.headers


def test_refusals_before_any_route_have_them(settings: Settings) -> None:
    with keyed(settings) as service:
        for headers in ({}, bearer("x")):
            answer = service.client.get("/v1/edits", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        large = service.client.post(
            "/v1/edits", content=b"x" * 5_000_000, headers=bearer(service.admin)
        )
        assert (large.status_code, large.headers["Cache-Control"]) == (413, "no-store")


class _Loaded(HTMLParser):
    """What a page loads, and whether it holds scripts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.urls += [url for name in ("src", "href") if (url := given.get(name))]
        self.inline += tag == "script" and "src" not in given
        self.inline += any(name.startswith("on") for name in given)


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    loaded = _Loaded()
    loaded.feed(page.text)
    assert loaded.inline == 0
    files = [url for url in loaded.urls if url != "data:,"]
    assert len(files) == 3
    for url in files:
        assert re.fullmatch(r"docs/[a-z.-]+", url)
        assert client.get(f"/{url}").status_code == 200
    script = re.search(r"script-src ([^;]*)", page.headers["Content-Security-Policy"])
    assert script is not None
    assert script[1] == "'self'"
    assert "http" not in page.headers["Content-Security-Policy"]
    assert "http" not in client.get("/docs/start.js").text
    assert client.get("/redoc").status_code == 404


def test_a_stranger_sees_the_documentation_whole(settings: Settings) -> None:
    with keyed(settings) as service:
        for path in ("", "/start.js", "/swagger-ui.css", "/swagger-ui-bundle.js"):
            assert service.client.get(f"/docs{path}").status_code == 200
        assert service.client.get("/docs/index.html").status_code == 401


def test_words_are_not_kept(client: TestClient) -> None:
    edit = client.post("/v1/edits", json=FACT)
    assert edit.headers["Cache-Control"] == "no-store"
    assert client.get(edit.headers["Location"]).headers["Cache-Control"] == "no-store"
