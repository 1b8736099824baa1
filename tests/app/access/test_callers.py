"""What each caller has of its own: idempotency keys, and places in the queue."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.database.database import Database
from app.operations import repository as operations
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import Keyed, bearer, keyed, kid
from tests.support.service import FACT, running

_OTHER = FACT | {"target": "Italian"}


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings.model_copy(update={"queued_per_caller": 5})) as service:
        yield service


def _post(
    service: Keyed, key: str, body: object, *, path: str = "/v1/edits", once: str = ""
) -> str:
    """The new id, or the code of the refusal."""
    headers = bearer(key) | ({"Idempotency-Key": once} if once else {})
    answer = service.client.post(path, json=body, headers=headers)
    found = answer.json()
    return str(found["id"] if answer.status_code == 202 else found["error"]["code"])


def _batch(size: int) -> dict[str, object]:
    return {"edits": [FACT | {"subject": f"Subject {number}"} for number in range(size)]}


def test_an_idempotency_key_is_its_callers_own(service: Keyed) -> None:
    mallory, importer = service.key("edit"), service.key("edit")
    squatted = _post(service, mallory, _OTHER, once="import-1")
    assert squatted.startswith("edit_")
    own = _post(service, importer, FACT, once="import-1")
    assert own.startswith("edit_")
    assert own != squatted
    assert _post(service, importer, FACT, once="import-1") == own
    assert _post(service, mallory, FACT, once="import-1") == "idempotency_mismatch"
    batch = _post(service, importer, _batch(2), path="/v1/edit-batches", once="import-2")
    other = _post(service, mallory, _batch(2), path="/v1/edit-batches", once="import-2")
    assert batch.startswith("batch_")
    assert other.startswith("batch_")
    assert batch != other


@only_sqlite
def test_where_nobody_needs_a_key_everybody_is_one_caller(settings: Settings) -> None:
    with running(settings) as client:
        headers = {"Idempotency-Key": "once"}
        first, again = (client.post("/v1/edits", json=FACT, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]


def test_a_revocation_takes_along_what_the_key_has_queued_and_nothing_else(
    service: Keyed, database: Database
) -> None:
    stolen, other = service.key("edit", "rollback"), service.key("edit")
    _post(service, stolen, _batch(3), path="/v1/edit-batches")
    kept = _post(service, other, FACT)
    History(database)
    _post(service, stolen, {"to_revision": 0}, path="/v1/rollbacks")
    path = f"/v1/keys/{kid(stolen)}?cancel_queued=true"
    first = service.client.delete(path, headers=bearer(service.admin)).json()
    assert (first["cancelled"], first["revoked_at"]) == (4, "2026-06-01T00:00:00Z")
    assert service.client.delete(path, headers=bearer(service.admin)).json()["cancelled"] == 0
    with database.read() as session:
        assert [operation.id for operation in operations.next_run(session, 100)] == [kept]
    entries = service.client.get("/v1/ledger", headers=bearer(service.admin)).json()["items"]
    admin = f"key:{kid(service.admin)}"
    assert [(entry["kind"], entry["actor"]) for entry in entries[-5:]] == [
        ("key", admin),
        *[("verdict", admin)] * 4,
    ]
    assert {entry["payload"]["status"] for entry in entries[-4:]} == {"cancelled"}
    verdict = service.client.get("/v1/ledger/verify", headers=bearer(service.admin)).json()
    assert verdict["ok"]


def test_a_revocation_can_take_along_later_what_it_left_and_not_what_has_begun(
    service: Keyed, database: Database
) -> None:
    stolen = service.key("edit")
    _post(service, stolen, _batch(3), path="/v1/edit-batches")
    History(database).claim(1)
    path = f"/v1/keys/{kid(stolen)}"
    assert service.client.delete(path, headers=bearer(service.admin)).json()["cancelled"] == 0
    path += "?cancel_queued=true"
    assert service.client.delete(path, headers=bearer(service.admin)).json()["cancelled"] == 2


def test_a_caller_has_so_many_places_in_the_queue_and_others_have_theirs(
    service: Keyed, database: Database
) -> None:
    busy, other = service.key("edit", "rollback"), service.key("edit")
    assert _post(service, busy, _batch(4), path="/v1/edit-batches").startswith("batch_")
    assert _post(service, busy, _batch(2), path="/v1/edit-batches") == "rate_limit_exceeded"
    last = _post(service, busy, FACT, once="last")
    assert last.startswith("edit_")
    refused = service.client.post("/v1/edits", json=FACT, headers=bearer(busy))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
    assert "5 edits of" in refused.json()["detail"]
    assert "ERRATA_QUEUED_PER_CALLER" in refused.json()["detail"]
    assert _post(service, busy, FACT, once="last") == last  # a replay takes no place
    assert _post(service, other, FACT).startswith("edit_")
    # A full queue of edits is when undoing is needed most.
    History(database)
    undone = _post(service, busy, {"to_revision": 0}, path="/v1/rollbacks")
    assert undone.startswith("rollback_")
    service.client.delete(f"/v1/edits/{last}", headers=bearer(busy))
    assert _post(service, busy, FACT).startswith("edit_")


def test_reverts_and_rollbacks_have_places_of_their_own(service: Keyed, database: Database) -> None:
    History(database)
    key = service.key("rollback")
    found = [_post(service, key, {"to_revision": 0}, path="/v1/rollbacks") for _ in range(6)]
    assert [answer.partition("_")[0] for answer in found[:5]] == ["rollback"] * 5
    assert found[5] == "rate_limit_exceeded"


@only_sqlite
def test_more_than_the_queue_of_one_caller_holds_is_refused_for_good(service: Keyed) -> None:
    key = service.key("edit")
    answer = service.client.post("/v1/edit-batches", json=_batch(6), headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "edits")


@only_sqlite
def test_a_caller_may_have_any_number_where_the_operator_says_so(settings: Settings) -> None:
    with running(settings.model_copy(update={"queued_per_caller": 0})) as client:
        for _ in range(3):
            assert client.post("/v1/edit-batches", json=_batch(10)).status_code == 202


@only_sqlite
def test_what_a_caller_has_queued_is_counted_through_an_index(database: Database) -> None:
    asked = (
        "SELECT count(*) FROM operations WHERE actor = 'x' AND status IN ('accepted', 'running')"
    )
    with database.read() as session:
        plan = session.execute(text(f"EXPLAIN QUERY PLAN {asked}")).all()
    assert "ix_operations_actor_status" in str(plan)
