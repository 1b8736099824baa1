"""Query parameters and methods that a path does not have are refused by name."""

import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import declared, routes
from tests.support.service import FACT

pytestmark = only_sqlite

_ANY = {
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{owner}/{model}",
}
_STREAMS = {"/v1/events", "/v1/events/tickets", "/v1/edits/{edit_id}/events"}


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/edits?statuss=dead", "it takes after, limit, status, subject"),
        ("/v1/edits?limit=1&statuss=dead", "it takes after, limit, status, subject"),
        ("/v1/revisions/head?statuss=1", "it takes none"),
        ("/v1/keys?statuss=1", "it takes after, limit"),
    ],
)
def test_an_unknown_parameter_is_named_with_those_that_are_known(
    client: TestClient, path: str, known: str
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "statuss")
    assert answer.json()["detail"] == f"statuss is no query parameter of this path; {known}"


def test_a_misspelt_dry_run_commits_nothing(client: TestClient) -> None:
    answer = client.post("/v1/edits?dryrun=true", json=FACT)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "dryrun")
    assert client.get("/v1/edits").json()["items"] == []


def test_the_value_of_an_unknown_parameter_is_not_repeated(client: TestClient) -> None:
    answer = client.get("/v1/edits?api_key=hunter2")
    assert answer.status_code == 422
    assert "hunter2" not in answer.text
    long = client.get(f"/v1/edits?{'x' * 5_000}=1")
    assert long.json()["error"]["param"] == "x" * 120 + "…"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json"])
def test_monitors_may_add_parameters_of_their_own(client: TestClient, path: str) -> None:
    assert client.get(f"{path}?_=1790000000").status_code == 200


def test_every_route_of_ours_refuses_unknown_parameters(
    client: TestClient, settings: Settings
) -> None:
    tolerant = set()
    for route in routes(settings):
        if not declared(route) or route.path_format in _STREAMS:  # which have no end
            continue
        (method, *_) = sorted(route.methods or ())
        path = str(route.path_format).replace("{", "").replace("}", "")
        answer = client.request(method, f"{path}?statuss=1")
        if answer.status_code != 422 or answer.json()["error"]["param"] != "statuss":
            tolerant.add(route.path_format)
    assert tolerant == _ANY | {"/metrics"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/edits", "GET, HEAD, POST"),
        ("PATCH", "/v1/edits/none", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/snapshots", "GET, HEAD, POST"),
        ("PUT", "/v1/keys/none", "DELETE, GET, HEAD"),
        ("HEAD", "/v1/rollbacks", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", "/v1/events", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_all_that_the_path_has(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


def test_whatever_is_allowed_is_served(client: TestClient, settings: Settings) -> None:
    for path in {str(route.path_format) for route in routes(settings)}:
        if "{" in path or path.startswith("/v1/events"):
            continue
        refused = client.request("TRACE", path)
        assert refused.status_code == 405, path
        for method in refused.headers["Allow"].split(", "):
            assert client.request(method, path).status_code != 405, (method, path)
