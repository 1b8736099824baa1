from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.operations.lifecycle import give_up
from tests.support.history import History
from tests.support.service import FACT


def _facts(count: int) -> list[dict[str, Any]]:
    return [FACT | {"subject": f"Subject {number}"} for number in range(count)]


def _post(
    client: TestClient,
    edits: list[dict[str, Any]],
    *,
    key: str | None = None,
    dry_run: bool = False,
    **more: object,
) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    path = "/v1/edit-batches" + ("?dry_run=true" if dry_run else "")
    return client.post(path, json={"edits": edits, **more}, headers=headers)


def test_a_batch_is_accepted_in_order_and_can_be_read_back(client: TestClient) -> None:
    client.post("/v1/edits", json=FACT)
    response = _post(client, _facts(3))
    assert response.status_code == 202
    batch = response.json()
    assert response.headers["Location"] == f"/v1/edit-batches/{batch['id']}"
    assert [edit["seq"] for edit in batch["edits"]] == [2, 3, 4]
    assert [edit["subject"] for edit in batch["edits"]] == ["Subject 0", "Subject 1", "Subject 2"]
    assert {edit["batch"] for edit in batch["edits"]} == {batch["id"]}
    assert batch["atomic"] is False
    assert client.get(response.headers["Location"]).json() == batch
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_batches_that_come_at_once_do_not_mix(client: TestClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        batches = [answer.json() for answer in pool.map(lambda _: _post(client, _facts(5)), "abcd")]
    for batch in batches:
        first = batch["edits"][0]["seq"]
        assert [edit["seq"] for edit in batch["edits"]] == list(range(first, first + 5))


def test_a_thousand_edits_are_one_batch_and_one_more_is_none(client: TestClient) -> None:
    assert len(_post(client, _facts(1000), atomic=True).json()["edits"]) == 1000
    response = _post(client, _facts(1001))
    assert (response.status_code, response.json()["error"]["param"]) == (422, "edits")
    assert "at most 1000" in response.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"target": ""}, "edits[1].target", "at least 1"),
        ({"prompt": "{} and {}"}, "edits[1].prompt", "2 '{}'"),
        ({"method": "nonsense"}, "edits[1].method", "'nonsense'"),
        ({"paraphrases": ["ok", "\x00"]}, "edits[1].paraphrases[1]", "NUL"),
        ({"gates": {"canaries_kept": 0.1}}, "edits[1].gates.canaries_kept", "at least 0.5"),
    ],
)
def test_an_unusable_edit_is_named_by_its_place_and_nothing_is_stored(
    client: TestClient, changes: dict[str, object], field: str, says: str
) -> None:
    edits = _facts(2)
    edits[1] |= changes
    response = _post(client, edits, key="kept")
    assert (response.status_code, response.json()["error"]["param"]) == (422, field)
    assert says in response.json()["detail"]
    assert client.get("/v1/edits").json()["items"] == []
    assert _post(client, _facts(2), key="kept").status_code == 202


@pytest.mark.parametrize(
    ("first", "second", "field", "says"),
    [
        ({"method": "memit"}, {"method": "alphaedit"}, "edits[1].method", "memit of edits[0]"),
        ({}, {"subject": "  SUBJECT 0"}, "edits[1].prompt", "same fact as edits[0]"),
        ({"method": "ft"}, {"method": "ft"}, "edits[0].method", "as a whole"),
    ],
)
def test_what_cannot_be_solved_together_is_no_atomic_batch(
    client: TestClient, first: dict[str, str], second: dict[str, str], field: str, says: str
) -> None:
    one, other = _facts(2)
    edits = [one | first, other | second]
    response = _post(client, edits, atomic=True)
    assert (response.status_code, response.json()["error"]["param"]) == (422, field)
    assert says in response.json()["detail"]
    assert _post(client, edits, atomic=False).status_code == 202


def test_an_atomic_batch_states_as_many_facts_of_a_subject_as_one_value_is_made_to_suit(
    client: TestClient,
) -> None:
    edits = [FACT | {"prompt": f"Fact {number} of {{}} is"} for number in range(33)]
    response = _post(client, edits, atomic=True)
    assert (response.status_code, response.json()["error"]["param"]) == (422, "edits[32].subject")
    assert "may state 32" in response.json()["detail"]
    assert _post(client, edits[:32], atomic=True).status_code == 202
    assert _post(client, edits, atomic=False).status_code == 202


@pytest.mark.parametrize("body", [{"edits": []}, {}, {"edits": [FACT], "atomic": "yes"}])
def test_a_batch_without_edits_or_sense_is_refused(
    client: TestClient, body: dict[str, object]
) -> None:
    assert client.post("/v1/edit-batches", json=body).status_code == 422


def test_a_key_makes_one_batch_however_often_it_is_sent(client: TestClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: _post(client, _facts(2), key="once").json(), range(8)))
    assert len({answer["id"] for answer in answers}) == 1
    assert len(client.get("/v1/edits").json()["items"]) == 2


@pytest.mark.parametrize(
    "changes", [{"atomic": True}, {"dry_run": True}, {"edits": _facts(3)}], ids=str
)
def test_a_key_with_another_batch_is_refused(client: TestClient, changes: dict[str, Any]) -> None:
    _post(client, _facts(2), key="once")
    response = _post(client, **{"edits": _facts(2), "key": "once"} | changes)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "idempotency_mismatch")


def test_a_key_of_a_batch_is_none_of_an_edit(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    batch = _post(client, [FACT], key="once").json()
    edit = client.post("/v1/edits", json=FACT, headers=key).json()
    assert edit["id"] != batch["edits"][0]["id"]
    assert client.post("/v1/edits", json=FACT, headers=key).json()["id"] == edit["id"]
    assert _post(client, [FACT], key="once").json()["id"] == batch["id"]


def test_cancelling_one_edit_of_an_atomic_batch_cancels_all(client: TestClient) -> None:
    edits = _post(client, _facts(3), atomic=True).json()["edits"]
    assert client.delete(f"/v1/edits/{edits[1]['id']}").json()["status"] == "cancelled"
    batch = client.get(f"/v1/edit-batches/{edits[0]['batch']}").json()
    assert [edit["status"] for edit in batch["edits"]] == ["cancelled"] * 3
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_cancelling_one_edit_of_another_batch_leaves_the_rest(client: TestClient) -> None:
    edits = _post(client, _facts(2)).json()["edits"]
    client.delete(f"/v1/edits/{edits[0]['id']}")
    batch = client.get(f"/v1/edit-batches/{edits[0]['batch']}").json()
    assert [edit["status"] for edit in batch["edits"]] == ["cancelled", "accepted"]


def _die(worked: History) -> None:
    run = worked.claim()
    with worked.database.write() as session:
        for operation in run:
            give_up(session, operation.id, "crashed", now=worked.clock(), actor="worker")


def test_a_dead_edit_is_queued_again_over_http(client: TestClient, worked: History) -> None:
    edit = client.post("/v1/edits", json=FACT).json()
    path = f"/v1/edits/{edit['id']}/requeue"
    refused = client.post(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "wrong_state")
    _die(worked)
    response = client.post(path)
    assert response.status_code == 202
    again = response.json()
    assert again == edit | {"seq": 2, "created_at": edit["created_at"]}
    assert [operation.id for operation in worked.claim()] == [edit["id"]]


def test_requeueing_one_edit_of_an_atomic_batch_queues_all(
    client: TestClient, worked: History
) -> None:
    batch = _post(client, _facts(2), atomic=True).json()
    _die(worked)
    client.post(f"/v1/edits/{batch['edits'][1]['id']}/requeue")
    again = client.get(f"/v1/edit-batches/{batch['id']}").json()["edits"]
    assert [edit["seq"] for edit in again] == [3, 4]
    assert [edit["id"] for edit in again] == [edit["id"] for edit in batch["edits"]]


def test_a_dry_run_says_that_it_is_one(client: TestClient) -> None:
    single = client.post("/v1/edits?dry_run=true", json=FACT).json()
    batch = _post(client, _facts(2), dry_run=True).json()
    assert [edit["dry_run"] for edit in (single, *batch["edits"])] == [True] * 3
    told = client.get("/v1/ledger").json()["items"][-1]["payload"]
    assert told.items() >= {"dry_run": True, "batch": batch["id"], "atomic": False}.items()
    assert client.post("/v1/edits", json=FACT).json()["dry_run"] is False


def test_a_key_of_a_dry_run_is_none_of_an_edit(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    client.post("/v1/edits?dry_run=true", json=FACT, headers=key)
    response = client.post("/v1/edits", json=FACT, headers=key)
    assert response.json()["error"]["code"] == "idempotency_mismatch"


def test_an_edit_may_make_gates_stricter_for_itself(client: TestClient) -> None:
    gates = {"target_p": 0.9, "perplexity_ratio": 1.01}
    edit = client.post("/v1/edits", json=FACT | {"gates": gates}).json()
    assert edit["gates"] == gates
    told = client.get("/v1/ledger").json()["items"][-1]["payload"]
    assert told["gates"] == {"target_p": "0.9", "perplexity_ratio": "1.01"}


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ({"target_said": 0.5}, "0.5 is looser than this service allows; give at least 1"),
        ({"perplexity_ratio": 2}, "2 is looser than this service allows; give at most 1.5"),
        ({"energy_drift": -1}, "greater than or equal to 0"),
        ({"target_p": 1.5}, "less than or equal to 1"),
        ({"target_p": "0.9"}, "valid number"),
        ({"target": 1}, "not known"),
    ],
)
def test_a_looser_or_senseless_gate_is_refused_by_name(
    client: TestClient, gates: dict[str, object], says: str
) -> None:
    response = client.post("/v1/edits", json=FACT | {"gates": gates})
    problem = response.json()
    assert (response.status_code, problem["error"]["param"]) == (422, f"gates.{next(iter(gates))}")
    assert says in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/edit-batches/batch_0", "/v1/edits/edit_0"])
def test_an_unknown_batch_or_edit_is_a_404(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert path.rpartition("/")[2] in response.json()["detail"]


def test_requeueing_what_does_not_exist_is_a_404(client: TestClient) -> None:
    response = client.post("/v1/edits/edit_0/requeue")
    assert response.json()["error"]["code"] == "unknown_edit"
