import hashlib
from pathlib import Path

from starlette.testclient import TestClient

from app.kit.canonical import canonical
from app.main import Components
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.service import FACT, SlowLoading, running
from tests.support.waiting import wait_until


def test_the_process_is_alive_without_a_model(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_readiness_says_what_failed(client: TestClient) -> None:
    said = "was not loaded: this test has none"
    wait_until(lambda: said in client.get("/readyz").json()["detail"], 10.0)
    assert client.get("/readyz").status_code == 503


@only_sqlite
def test_while_the_model_loads_edits_are_taken_and_queries_told_to_wait(
    settings: Settings,
) -> None:
    loading = SlowLoading()
    with running(settings, Components(start_runtime=loading)) as client:
        assert "loading model smollm2-135m" in client.get("/readyz").json()["detail"]
        query = {"model": "smollm2-135m", "prompt": "x"}
        response = client.post("/v1/completions", json=query)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_not_ready")
        assert client.post("/v1/edits", json=FACT).status_code == 202
        loading.may_end.set()


def test_an_absent_redis_is_a_reason_but_loses_nothing(settings: Settings) -> None:
    absent = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with running(absent) as client:
        assert client.post("/v1/edits", json=FACT).status_code == 202
        assert "the queue does not answer" in client.get("/readyz").json()["detail"]


@only_sqlite  # the server of PostgreSQL is shared by other tests
def test_a_database_that_is_gone_is_a_503_and_never_a_202(
    client: TestClient, tmp_path: Path
) -> None:
    for file in tmp_path.glob("errata.db*"):
        file.unlink()
    (tmp_path / "errata.db").mkdir()
    assert client.post("/v1/edits", json=FACT).status_code == 503


def test_revisions_are_shown_with_their_changes(client: TestClient, worked: History) -> None:
    worked.edit("a", "b")
    worked.edit("c", supersedes="a")
    head = client.get("/v1/revisions/head").json()
    assert (head["number"], head["parent"], head["kind"]) == (2, 1, "edit")
    assert (head["edits"], head["removed"], head["live_edits"]) == (["c"], ["a"], 2)
    pages = [client.get("/v1/revisions", params={"limit": 2}).json()]
    pages.append(client.get("/v1/revisions", params={"after": pages[0]["next"]}).json())
    shown = [revision for page in pages for revision in page["items"]]
    assert [revision["kind"] for revision in shown] == ["base", "edit", "edit"]
    assert shown[2] == head
    assert client.get("/v1/revisions/1").json() == shown[1]
    assert client.get("/v1/revisions/3").status_code == 404
    assert client.get("/v1/revisions/99999999999").status_code == 404


def test_there_is_no_revision_before_the_first_model(client: TestClient) -> None:
    assert client.get("/v1/revisions").json() == {"items": [], "next": None}
    assert client.get("/v1/revisions/head").json()["error"]["code"] == "no_revision_yet"
    assert client.post("/v1/rollbacks", json={"to_revision": 0}).status_code == 404


def test_a_rollback_is_accepted_as_an_operation(client: TestClient, worked: History) -> None:
    worked.edit("a")
    response = client.post("/v1/rollbacks", json={"to_revision": 0, "reason": "drill"})
    assert response.status_code == 202
    operation = client.get(response.headers["Location"]).json()
    expected = {"kind": "rollback", "to_revision": 0, "status": "accepted", "reason": "drill"}
    assert operation.items() >= expected.items()
    refused = client.post("/v1/rollbacks", json={"to_revision": 2})
    assert refused.status_code == 422
    assert "the newest is 1" in refused.json()["detail"]


def test_the_ledger_can_be_checked_from_what_the_api_shows(
    client: TestClient, worked: History
) -> None:
    worked.edit("a")
    first = client.get("/v1/ledger", params={"limit": 2}).json()
    rest = client.get("/v1/ledger", params={"after": first["next"]}).json()
    entries = first["items"] + rest["items"]
    assert [entry["kind"] for entry in entries] == ["base", "operation", "revision"]
    previous = "0" * 64
    for entry in entries:
        assert entry["prev_hash"] == previous
        previous = entry.pop("hash")
        assert hashlib.sha256(canonical(entry).encode()).hexdigest() == previous
    verdict = client.get("/v1/ledger/verify").json()
    assert verdict == {
        "ok": True,
        "entries": 3,
        "head_hash": previous,
        "first_bad": None,
        "bad_artefact": None,
        "bad_row": None,
    }


def test_every_operation_documents_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "Problem" in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path != "/healthz":
                assert "503" in operation["responses"], (method, path)
            assert "HTTPValidationError" not in str(operation), (method, path)
