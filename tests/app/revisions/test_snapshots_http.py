import pytest
from starlette.testclient import TestClient

from app.operations.labels import add_automatic, add_label
from tests.support.history import History


@pytest.fixture
def labelled(worked: History) -> History:
    """Three revisions, the second labelled, the third kept by the worker."""
    for edit_id in ("a", "b", "c"):
        worked.edit(edit_id)
    with worked.database.write() as session:
        add_label(session, 2, "release", "digest-2", actor="client", now=worked.clock())
        add_automatic(session, 3, "digest-3", kept=4, now=worked.clock())
    return worked


def test_snapshots_are_listed_page_by_page(client: TestClient, labelled: History) -> None:
    del labelled
    first = client.get("/v1/snapshots", params={"limit": 1}).json()
    rest = client.get("/v1/snapshots", params={"after": first["next"]}).json()
    shown = [(item["revision"], item["label"]) for item in first["items"] + rest["items"]]
    assert shown == [(2, "release"), (3, None)]
    assert rest["next"] is None
    assert client.get("/v1/snapshots/release").json() == first["items"][0]


def test_a_rollback_may_name_a_label(client: TestClient, labelled: History) -> None:
    del labelled
    response = client.post("/v1/rollbacks", json={"to_label": "release"})
    assert response.status_code == 202
    assert response.json()["to_revision"] == 2
    newest = client.get("/v1/ledger").json()["items"][-1]
    assert newest["payload"]["to_label"] == "release"


def test_an_unknown_label_is_named(client: TestClient, labelled: History) -> None:
    del labelled
    for response in (
        client.post("/v1/rollbacks", json={"to_label": "relaese"}),
        client.get("/v1/snapshots/relaese"),
        client.delete("/v1/snapshots/relaese"),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_label")
        assert "'relaese'" in response.json()["detail"]


@pytest.mark.parametrize("goal", [{}, {"to_revision": 1, "to_label": "release"}])
def test_a_rollback_goes_to_one_place(
    client: TestClient, labelled: History, goal: dict[str, object]
) -> None:
    del labelled
    response = client.post("/v1/rollbacks", json=goal)
    assert (response.status_code, response.json()["error"]["param"]) == (422, "to_revision")
    assert "either to_revision or to_label" in response.json()["detail"]


def test_a_removed_label_is_gone_and_its_revision_is_not(
    client: TestClient, labelled: History
) -> None:
    del labelled
    assert client.delete("/v1/snapshots/release").status_code == 204
    assert client.get("/v1/snapshots/release").status_code == 404
    assert client.get("/v1/revisions/2").status_code == 200
    newest = client.get("/v1/ledger").json()["items"][-1]
    assert newest["payload"] == {"label": "release", "revision": 2, "removed": True}
    assert client.get("/v1/ledger/verify").json()["ok"]


@pytest.mark.parametrize("label", ["", "7", "٣", "head", "-x", "a b", "a/b", "é", "x" * 65, 7])
def test_a_label_is_a_name_and_no_number(
    client: TestClient, labelled: History, label: object
) -> None:
    del labelled
    for path, body in (
        ("/v1/snapshots", {"label": label}),
        ("/v1/rollbacks", {"to_label": label}),
    ):
        response = client.post(path, json=body)
        assert response.status_code == 422
        assert response.json()["error"]["param"] in ("label", "to_label")


def test_a_revision_that_does_not_exist_is_named(client: TestClient, labelled: History) -> None:
    del labelled
    response = client.post("/v1/snapshots", json={"label": "x", "revision": 4})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "revision")
    assert "the newest is 3" in response.json()["detail"]


def test_without_a_model_there_is_nothing_to_keep(client: TestClient, labelled: History) -> None:
    del labelled
    response = client.post("/v1/snapshots", json={"label": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_not_ready")
