"""What clients of any HTTP service rely on: HEAD, pages of other origins, limits told, codings."""

import gzip
import json
from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from app.main import Components
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import SetClock, bearer, first_key, keyed
from tests.support.listening import Served, serving
from tests.support.service import FACT, load_nothing, running
from tests.support.waiting import wait_until

pytestmark = only_sqlite

_PATIENCE_S = 60.0  # the first to ask for the API's description waits until it is made
_PAGE = "https://app.example.org"
_PREFLIGHT = {
    "Origin": _PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/healthz",
        "/metrics",
        "/nowhere",
        "/openapi.json",
        "/readyz",
        "/v1/edits",
        "/v1/edits/none",
        "/v1/keys",
        "/v1/ledger/bundle",
        "/v1/ledger/export",
        "/v1/models",
        "/v1/revisions/head",
    ],
)
def test_head_is_answered_as_get_is_without_its_body(served: Served, path: str) -> None:
    History(served.services.database)
    with httpx2.Client(base_url=served.url, timeout=_PATIENCE_S) as client:
        whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert {*head.headers} == {*whole.headers} - {"transfer-encoding"}
    same = {"content-type", "etag", "location", "cache-control"}
    assert {name: head.headers.get(name) for name in same} == {
        name: whole.headers.get(name) for name in same
    }


def test_the_head_of_a_stream_without_end_ends_and_frees_its_place(served: Served) -> None:
    head = httpx2.head(f"{served.url}/v1/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"].startswith("text/event-stream")
    wait_until(lambda: not served.hub.listeners, 10.0, what="the listener's leaving")


def test_head_is_counted_as_head_under_its_route(client: TestClient) -> None:
    client.head("/v1/edits/none")
    series = 'errata_http_requests_total{method="HEAD",route="/v1/edits/{edit_id}",status="404"} 1'
    assert series in client.get("/metrics").text


def test_head_opens_no_door_and_changes_nothing(settings: Settings) -> None:
    with keyed(settings) as service:
        assert service.client.head("/v1/edits").status_code == 401
        asked = service.client.head("/v1/keys", headers=bearer(service.key("query")))
        assert asked.status_code == 403
        posts = service.client.head("/v1/rollbacks", headers=bearer(service.admin))
        assert (posts.status_code, posts.headers["Allow"]) == (405, "POST")
        gets = service.client.put("/healthz")
        assert (gets.status_code, gets.headers["Allow"]) == (405, "GET, HEAD")


def _open_to_page(settings: Settings) -> Settings:
    return settings.model_copy(update={"cors_origins": (_PAGE,)})


def test_a_page_that_the_operator_names_may_ask_with_a_key(settings: Settings) -> None:
    settings = _open_to_page(settings)
    with running(settings) as client:
        headers = {"Origin": _PAGE, **bearer(first_key(settings))}
        preflight = client.options("/v1/edits", headers=_PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == _PAGE
        assert (
            preflight.headers["Access-Control-Allow-Headers"]
            == (_PREFLIGHT["Access-Control-Request-Headers"])
        )
        assert "Access-Control-Allow-Credentials" not in preflight.headers
        answers = [
            client.post("/v1/edits", json=FACT, headers=headers),
            client.get("/v1/edits/none", headers=headers),
            client.get("/v1/edits", headers={"Origin": _PAGE}),
        ]
        assert [answer.status_code for answer in answers] == [202, 404, 401]
        for answer in answers:
            assert answer.headers["Access-Control-Allow-Origin"] == _PAGE
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
            assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://app.example.org.evil.example",
        "null",
    ],
)
def test_a_page_that_nobody_named_is_told_nothing(settings: Settings, origin: str) -> None:
    settings = _open_to_page(settings)
    with running(settings) as client:
        key = bearer(first_key(settings))
        preflight = client.options("/v1/edits", headers=_PREFLIGHT | {"Origin": origin})
        assert (preflight.status_code, preflight.json()["error"]["code"]) == (403, "cross_origin")
        assert "ERRATA_CORS_ORIGINS" in preflight.json()["detail"]
        asked = client.get("/v1/edits", headers=key | {"Origin": origin})
        for answer in (preflight, asked):
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_page_is_told_anything_by_default(client: TestClient) -> None:
    answer = client.options("/v1/edits", headers=_PREFLIGHT)
    assert answer.status_code in {403, 405}
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_naming_an_origin_opens_no_service_without_keys(settings: Settings) -> None:
    with running(_open_to_page(settings)) as client:
        for headers in ({"Origin": _PAGE}, {"Origin": _PAGE, "Sec-Fetch-Site": "cross-site"}):
            for path in ("/v1/edits", "/readyz", "/openapi.json"):
                answer = client.get(path, headers=headers)
                code = answer.json()["error"]["code"]
                assert (answer.status_code, code) == (403, "foreign_request"), path
            assert client.post("/v1/edits", json=FACT, headers=headers).status_code == 403
        assert client.get("/v1/edits").json()["items"] == []


def _limits(answer: httpx2.Response, unit: str) -> tuple[str | None, ...]:
    names = ("Limit", "Remaining", "Reset")
    return tuple(answer.headers.get(f"X-RateLimit-{name}-{unit}") for name in names)


def test_an_answer_tells_what_is_left_of_the_callers_budgets(settings: Settings) -> None:
    narrow = settings.model_copy(update={"edits_per_minute": 3, "edit_bytes_per_minute": 10_000})
    with running(narrow, Components(SetClock(), start_runtime=load_nothing)) as client:
        first = client.post("/v1/edits", json=FACT, headers={"Idempotency-Key": "once"})
        assert _limits(first, "Edits") == ("3", "2", "60s")
        size = sum(len(str(value)) for value in FACT.values())
        limit, left, _ = _limits(first, "Edit-Bytes")
        assert (limit, int(left or 0) <= 10_000 - size) == ("10000", True)
        batch = client.post("/v1/edit-batches", json={"edits": [FACT, FACT]})
        assert _limits(batch, "Edits") == ("3", "0", "60s")
        refused = client.post("/v1/edits", json=FACT)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert _limits(refused, "Edits") == ("3", "0", "60s")
        again = client.post("/v1/edits", json=FACT, headers={"Idempotency-Key": "once"})
        assert _limits(again, "Edits") == (None, None, None)  # it took nothing


@pytest.mark.parametrize("coding", ["gzip", "br", "x" * 1_000])
def test_a_compressed_body_is_refused_by_the_name_of_its_coding(
    client: TestClient, coding: str
) -> None:
    body = gzip.compress(json.dumps(FACT).encode())
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    answer = client.post("/v1/edits", content=body, headers=headers)
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert answer.json()["error"]["code"] == "unsupported_media_type"
    assert f"{coding[:40]!r}, and bodies are not decompressed" in answer.json()["detail"]
    plain = {"Content-Encoding": "identity"}
    assert client.post("/v1/edits", json=FACT, headers=plain).status_code == 202
