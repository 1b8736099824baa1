"""The queue's brake over HTTP, in the command and in the ledger."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.client import Errata
from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.ledger import repository as entries
from app.operations import repository as operations
from app.settings import Settings
from tests.support.chain import check_chain
from tests.support.history import History
from tests.support.service import running


def _post(client: TestClient, subject: str, **details: Any) -> str:
    body = {"subject": subject, "prompt": "The capital of {} is", "target": "Rome", **details}
    response = client.post("/v1/edits", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def _told(database: Database) -> list[dict[str, Any]]:
    """What the ledger says of the queue."""
    with database.read() as session:
        assert check_chain(session).ok
        links = entries.links(session, after=-1, limit=1_000)
        return [json.loads(link.payload) for link in links if link.kind == "queue"]


def test_a_paused_queue_claims_no_edit_but_undoing_also_after_a_restart(
    settings: Settings,
) -> None:
    with running(settings) as client:
        response = client.post("/v1/queue/pause", json={"reason": "a bad import"})
        assert response.status_code == 200, response.text
        paused = response.json()
        assert (paused["state"], paused["paused_by"]) == ("paused", "local")
        assert client.post("/v1/queue/pause", json={"reason": "again"}).json() == paused
        _post(client, "France")
    with running(settings) as client:
        found = client.get("/v1/queue").json()
        assert found["reason"] == "a bad import"
        assert found["waiting"] == {"edits": 1, "reverts": 0, "rollbacks": 0}
        database = Database(settings.database_url)
        history = History(database)
        assert history.claim() == []
        history.accept_rollback("stop", 0)
        assert [operation.id for operation in history.claim()] == ["stop"]
        assert "errata_queue_paused 1.0" in client.get("/metrics").text
        resumed = client.post("/v1/queue/resume").json()
        assert (resumed["state"], resumed["paused_by"], resumed["reason"]) == (
            "running",
            None,
            None,
        )
        assert client.post("/v1/queue/resume").json() == resumed
        assert len(history.claim()) == 1
        assert _told(database) == [{"act": "pause"}, {"act": "resume"}]
        database.close()


def test_what_is_sent_again_neither_pauses_nor_cancels_what_came_since(
    settings: Settings,
) -> None:
    with running(settings) as client:
        client.post("/v1/queue/pause", headers=_key("pause"))
        client.post("/v1/queue/resume", headers=_key("resume"))
        assert client.post("/v1/queue/pause", headers=_key("pause")).json()["state"] == "running"
        client.post("/v1/queue/pause", headers=_key("another"))
        assert client.post("/v1/queue/resume", headers=_key("resume")).json()["state"] == "paused"
        _post(client, "France")
        for _ in range(2):
            answer = client.post("/v1/queue/cancel", json={"all": True}, headers=_key("cancel"))
            assert answer.json() == {"cancelled": 1}
            _post(client, "Italy")
        assert client.get("/v1/queue").json()["waiting"]["edits"] == 2
        other = client.post("/v1/queue/cancel", json={"actor": "x"}, headers=_key("cancel"))
        assert other.status_code == 422


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({"subject": " fRANCE"}, {"b", "c", "d"}),
        ({"metadata": {"import": "7"}}, {"c", "d"}),
        ({"metadata": {"import": "7"}, "subject": "Italy"}, {"a", "c", "d"}),
        ({"metadata": {"import": "7", "by": "x"}}, {"a", "c", "d"}),
        ({"method": "memit"}, {"a", "b"}),
        ({"actor": "local"}, set()),
        ({"actor": "key:other"}, {"a", "b", "c", "d"}),
        ({"created_after": "2100-01-01T00:00:00Z"}, {"a", "b", "c", "d"}),
        ({"created_before": "2100-01-01T00:00:00+05:00"}, set()),
        ({"all": True}, set()),
        ({"all": True, "dry_run": True}, {"a", "b", "c", "d"}),
    ],
)
def test_what_waits_is_cancelled_by_what_it_has_in_common(
    client: TestClient, database: Database, wanted: dict[str, Any], left: set[str]
) -> None:
    ids = {
        "a": _post(client, "France", metadata={"import": "7"}),
        "b": _post(client, "Italy", metadata={"import": "7", "by": "x"}),
        "c": _post(client, "Spain", method="memit", metadata={"import": "8"}),
        "d": _post(client, "Norway", method="memit"),
    }
    response = client.post("/v1/queue/cancel", json=wanted)
    assert response.status_code == 200, response.text
    dry = wanted.get("dry_run", False)
    cancelled = 4 if dry else 4 - len(left)
    assert response.json() == {"cancelled": cancelled}
    page = client.get("/v1/edits", params={"status": "accepted"}).json()["items"]
    assert {edit["id"] for edit in page} == {ids[name] for name in left}
    entry = [{"act": "cancel", "cancelled": cancelled}] if cancelled and not dry else []
    assert _told(database) == entry


def test_an_atomic_batch_is_cancelled_whole(client: TestClient) -> None:
    edits = [
        {"subject": name, "prompt": "The capital of {} is", "target": "Rome"}
        for name in ("France", "Italy")
    ]
    batch = client.post("/v1/edit-batches", json={"edits": edits, "atomic": True}).json()
    other = _post(client, "Spain")
    assert client.post("/v1/queue/cancel", json={"subject": "Italy"}).json() == {"cancelled": 2}
    found = client.get(f"/v1/edit-batches/{batch['id']}").json()["edits"]
    assert {edit["status"] for edit in found} == {"cancelled"}
    assert client.get(f"/v1/edits/{other}").json()["status"] == "accepted"


def test_what_has_begun_is_not_cancelled(client: TestClient, worked: History) -> None:
    begun = _post(client, "France")
    worked.claim(1)
    assert client.post("/v1/queue/cancel", json={"all": True}).json() == {"cancelled": 0}
    assert worked.status(begun) is EditStatus.RUNNING
    with worked.database.read() as session:
        assert operations.get(session, begun).reason is None


@pytest.mark.parametrize(
    "body", [{}, {"dry_run": True}, {"created_after": "2026-01-01T00:00:00"}, {"subject": " "}]
)
def test_a_filter_that_names_nothing_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/queue/cancel", json=body).status_code == 422


def test_every_cancelled_edit_has_its_end_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    one, more = _post(client, "France"), _post(client, "Italy")
    with caplog.at_level(logging.INFO):
        client.delete(f"/v1/edits/{one}")
        client.post("/v1/queue/cancel", json={"all": True})
    ended = [line for line in caplog.text.splitlines() if "operation_ended" in line]
    assert [id in line and "cancelled" in line for id, line in zip((one, more), ended, strict=True)]


def test_the_client_pauses_resumes_and_cancels(client: TestClient) -> None:
    _post(client, "France", metadata={"import": "7"})
    errata = Errata(http=client)
    assert errata.queue.pause("why").state == "paused"
    assert errata.queue.show().waiting["edits"] == 1
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert errata.queue.cancel(created_before=long_ago) == 0
    assert errata.queue.cancel(metadata={"import": "7"}, created_after=long_ago) == 1
    assert errata.queue.resume().state == "running"
