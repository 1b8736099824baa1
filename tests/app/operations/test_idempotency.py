"""A request that is sent again, as clients do whose answer was lost, has the effect of one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext
from sqlalchemy import text
from starlette.testclient import TestClient

from app.database.database import Database
from app.database.tables.idempotency import IdempotencyKey
from app.deps.idempotency import OnceDep
from app.ledger import repository as ledger
from app.operations import idempotency_keys as repository
from app.operations.labels import add_label
from app.operations.lifecycle import give_up
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import Keyed, SetClock, bearer, keyed, kid, routes
from tests.support.service import FACT, running

#: what changes nothing, or nothing more when it is sent again; and why
_WITHOUT_KEY = {
    "POST /v1/completions": "a query",
    "POST /v1/chat/completions": "a query",
    "POST /v1/probe": "a query",
    "POST /v1/compare": "a query",
    "POST /v1/bisect": "a query",
    "POST /v1/events/tickets": "a ticket is stored nowhere, and is over in half a minute",
}
SAFE = {"GET", "HEAD", "OPTIONS"}
_WEEK = timedelta(days=7)


def _dependencies(dependant: Dependant) -> Iterator[object]:
    for needed in dependant.dependencies:
        yield needed.call
        yield from _dependencies(needed)


def takes_a_key(route: RouteContext) -> bool:
    """Whether a route takes an idempotency key."""
    (depends,) = OnceDep.__metadata__  # type: ignore[attr-defined]
    dependant = getattr(route, "dependant", None)
    return dependant is not None and depends.dependency in _dependencies(dependant)


@only_sqlite
def test_every_route_that_changes_something_takes_a_key(settings: Settings) -> None:
    changing = {
        f"{method} {route.path_format}": route
        for route in routes(settings)
        for method in sorted(set(route.methods or ()) - SAFE)
    }
    assert len(changing) > 15
    without = {name for name, route in changing.items() if not takes_a_key(route)}
    assert without == set(_WITHOUT_KEY)


def _entries(database: Database) -> int:
    with database.read() as session:
        newest = ledger.last(session)
    return -1 if newest is None else newest.index


def _dead(worked: History, edit_id: str) -> str:
    worked.accept(edit_id)
    worked.claim()
    with worked.database.write() as session:
        give_up(session, edit_id, "crashed", now=worked.clock(), actor="worker")
    return edit_id


def test_whatever_is_sent_again_changes_nothing_more(
    client: TestClient, worked: History, database: Database
) -> None:
    for name in ("a", "b", "c"):
        worked.edit(name)
    worked.undo("back", 1, removed=["b", "c"])
    _dead(worked, "dead")
    sent = [
        ("POST", "/v1/edits", FACT),
        ("POST", "/v1/edit-batches", {"edits": [FACT | {"subject": "Danielle"}]}),
        ("POST", "/v1/edits/dead/requeue", None),
        ("DELETE", "/v1/edits/dead", None),
        ("POST", "/v1/edits/dead/erase", None),
        ("POST", "/v1/edits/a/revert", {"reason": "drill"}),
        ("POST", "/v1/rollbacks", {"to_revision": 0, "reason": "drill"}),
        ("POST", "/v1/operations/back/erase", None),
        ("POST", "/v1/edits/b/withdraw", {"why": "harm"}),
        ("POST", "/v1/edits/c/erase", {"withdraw": True}),
        ("POST", "/v1/exports", {"format": "delta", "revision": 0}),
    ]
    for number, (method, path, body) in enumerate(sent):
        headers = {"Idempotency-Key": f"once-{number}"}
        first = client.request(method, path, json=body, headers=headers)
        assert first.is_success, (path, first.text)
        entries = _entries(database)
        again = client.request(method, path, json=body, headers=headers)
        assert (again.status_code, again.json()) == (first.status_code, first.json()), path
        assert _entries(database) == entries, path
    export = f"/v1/exports/{first.json()['id']}"
    for _ in range(2):
        assert client.delete(export, headers={"Idempotency-Key": "once"}).status_code == 204


def test_a_rollback_that_is_sent_again_undoes_nothing_that_came_since(
    client: TestClient, worked: History
) -> None:
    worked.edit("before")
    body, once = {"to_revision": 0, "reason": "drill"}, {"Idempotency-Key": "rollback-1"}
    first = client.post("/v1/rollbacks", json=body, headers=once)
    worked.claim()
    client.post("/v1/edits", json=FACT)
    again = client.post("/v1/rollbacks", json=body, headers=once)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert client.get("/readyz").status_code == 503  # no model here, so nothing else was queued
    other = client.post("/v1/rollbacks", json=body | {"to_revision": 1}, headers=once)
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert client.post("/v1/rollbacks", json=body).json()["id"] != first.json()["id"]


def _label(worked: History, revision: int) -> None:
    with worked.database.write() as session:
        add_label(session, revision, "release", "digest", actor="client", now=worked.clock())


def test_a_label_that_is_removed_again_stays_on_what_it_was_given_since(
    client: TestClient, worked: History
) -> None:
    worked.edit("a")
    once = {"Idempotency-Key": "once"}
    _label(worked, 0)
    assert client.delete("/v1/snapshots/release", headers=once).status_code == 204
    _label(worked, 1)
    assert client.delete("/v1/snapshots/release", headers=once).status_code == 204
    assert client.get("/v1/snapshots/release").json()["revision"] == 1


def test_each_path_has_keys_of_its_own_and_a_key_one_path(
    client: TestClient, worked: History
) -> None:
    worked.edit("a")
    worked.edit("b")
    once = {"Idempotency-Key": "once"}
    revert = client.post("/v1/edits/a/revert", json={}, headers=once)
    rollback = client.post("/v1/rollbacks", json={"to_revision": 0}, headers=once)
    assert (revert.status_code, rollback.status_code) == (202, 202)
    other = client.post("/v1/edits/b/revert", json={}, headers=once)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")


def test_requests_sent_again_at_the_same_time_are_one(client: TestClient, worked: History) -> None:
    worked.edit("a")

    def post(_: int) -> str:
        body, headers = {"to_revision": 0}, {"Idempotency-Key": "once"}
        return str(client.post("/v1/rollbacks", json=body, headers=headers).json()["id"])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(post, range(12)))) == 1


@only_sqlite
def test_what_was_accepted_before_is_recalled_whatever_limit_was_reached_since(
    settings: Settings, database: Database
) -> None:
    narrow = settings.model_copy(update={"queued_per_caller": 1, "exports_per_caller": 1})
    with running(narrow) as client:
        History(database).edit("a")
        once = {"Idempotency-Key": "once"}
        sent = [
            ("/v1/rollbacks", {"to_revision": 0}),
            ("/v1/exports", {"format": "delta", "revision": 0}),
        ]
        first = [client.post(path, json=body, headers=once).json()["id"] for path, body in sent]
        assert client.post("/v1/edits/a/revert", json={}).status_code == 429
        assert client.post("/v1/exports", json={"format": "merged"}).status_code == 429
        again = [client.post(path, json=body, headers=once).json()["id"] for path, body in sent]
        assert again == first
    # Gates that became stricter, or a full disk, do not take back what was accepted either.
    loose = {**FACT, "gates": {"delta_norm": 0.9}}
    with running(settings) as client:
        accepted = client.post("/v1/edits", json=loose, headers=once).json()["id"]
    strict = {"gate_delta_norm": 0.5, "min_free_bytes": 2**62}
    with running(settings.model_copy(update=strict)) as client:
        assert client.post("/v1/edits", json=loose).status_code == 422
        assert client.post("/v1/edits", json=loose, headers=once).json()["id"] == accepted


def test_a_key_that_was_asked_for_again_is_named_and_not_made_again(settings: Settings) -> None:
    with keyed(settings) as service:
        body, headers = {"scopes": ["edit"]}, bearer(service.admin) | {"Idempotency-Key": "once"}
        made = service.client.post("/v1/keys", json=body, headers=headers).json()
        again = service.client.post("/v1/keys", json=body, headers=headers)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "key_made_before")
        assert f"DELETE /v1/keys/{made['id']}" in again.json()["detail"]
        assert made["key"] not in again.text
        listed = service.client.get("/v1/keys", headers=bearer(service.admin)).json()["items"]
        assert [key["id"] for key in listed] == [kid(service.admin), made["id"]]


def _post(service: Keyed, key: str) -> str:
    headers = bearer(service.admin) | {"Idempotency-Key": key}
    return str(service.client.post("/v1/edits", json=FACT, headers=headers).json()["id"])


def test_a_key_is_free_again_after_a_week_and_then_swept(
    settings: Settings, database: Database
) -> None:
    with keyed(settings) as service:
        first = _post(service, "once")
        service.clock.pass_by(_WEEK - timedelta(seconds=1))
        assert _post(service, "once") == first
        _post(service, "other")
        service.clock.pass_by(timedelta(seconds=2))
        assert _post(service, "once") != first
        service.clock.pass_by(_WEEK + timedelta(seconds=1))
        _post(service, "last")
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM idempotency_keys")) == 1


def test_a_sweep_removes_a_bounded_number_of_keys(database: Database) -> None:
    clock = SetClock()
    with database.write() as session:
        for number in range(1_500):
            clock.pass_by(timedelta(seconds=1))
            key = IdempotencyKey(
                actor="a",
                route="r",
                key=str(number),
                body_digest="",
                resource="x",
                created_at=clock(),
            )
            session.add(key)
    left = []
    for _ in range(2):
        with database.write() as session:
            repository.sweep(session, before=clock())
            left.append(session.scalar(text("SELECT count(*) FROM idempotency_keys")))
    assert left == [500, 1]


def test_undoing_is_refused_where_the_head_is_not_the_one_that_was_seen(
    client: TestClient, worked: History
) -> None:
    worked.edit("a")
    worked.edit("b")
    for path, body in (("/v1/rollbacks", {"to_revision": 0}), ("/v1/edits/a/revert", {})):
        moved = client.post(path, json=body | {"if_head": 1})
        assert (moved.status_code, moved.json()["error"]["code"]) == (412, "head_moved")
        assert "the head is revision 2, not 1" in moved.json()["detail"]
        fits = client.post(path, json=body | {"if_head": 2})
        assert (fits.status_code, fits.json()["if_head"]) == (202, 2)
    assert client.get("/v1/ledger/verify").json()["ok"]


@pytest.mark.parametrize("if_head", [-1, "2", 1.0, 2**63])
@only_sqlite
def test_a_head_that_no_revision_can_be_is_refused(client: TestClient, if_head: object) -> None:
    answer = client.post("/v1/rollbacks", json={"to_revision": 0, "if_head": if_head})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "if_head")
