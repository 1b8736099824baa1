"""Keys as things: made, listed, used, revoked, and what the ledger tells of it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from app.access.last_use import LastUse
from app.database.database import Database
from app.settings import Settings
from tests.support.chain import check_chain
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import Keyed, SetClock, bearer, keyed, kid
from tests.support.service import FACT, running
from tests.support.tampering import tampering
from tests.support.waiting import wait_until

_WAIT_S = 10.0


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


def _get(service: Keyed, path: str) -> Any:
    response = service.client.get(path, headers=bearer(service.admin))
    assert response.status_code == 200, response.text
    return response.json()


def _made(key: str, scopes: list[str], expires_at: str | None) -> dict[str, object]:
    """What the ledger says of a key that was made."""
    return {"id": kid(key), "scopes": scopes, "expires_at": expires_at}


def test_a_key_is_shown_once_and_never_again(service: Keyed) -> None:
    body = {"name": "CI", "scopes": ["query", "edit"], "expires_at": "2026-06-02T12:00:00+02:00"}
    response = service.client.post("/v1/keys", json=body, headers=bearer(service.admin))
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    made = response.json()
    assert made.pop("key").startswith(f"lme_{made['id']}_")
    assert (made["name"], made["scopes"]) == ("CI", ["query", "edit"])
    assert made["expires_at"] == "2026-06-02T10:00:00Z"
    assert (made["last_used_at"], made["revoked_at"]) == (None, None)
    assert _get(service, response.headers["Location"]) == made


def test_neither_the_database_nor_a_file_holds_a_key(
    service: Keyed, settings: Settings, database: Database
) -> None:
    secret = service.key("edit").split("_")[2]
    pepper = (settings.data_dir / "key-pepper").read_text()
    with database.read() as session:
        for table in ("api_keys", "ledger_entries", "operations"):
            stored = str(session.execute(text(f"SELECT * FROM {table}")).all())  # noqa: S608
            assert secret not in stored
            assert pepper not in stored
    for path in settings.data_dir.iterdir():
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_keys_are_listed_in_order_page_by_page(service: Keyed) -> None:
    ids = [kid(service.admin), *(kid(service.key("query")) for _ in range(4))]
    found: list[str] = []
    after: int | None = None
    while True:
        page = _get(service, "/v1/keys?limit=2" + ("" if after is None else f"&after={after}"))
        found += [key["id"] for key in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert found == ids


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "scopes", "required"),
        ({"scopes": []}, "scopes", "at least 1"),
        ({"scopes": ["everything"]}, "scopes[0]", "'query', 'edit'"),
        ({"scopes": ["edit"], "name": " "}, "name", "blank"),
        ({"scopes": ["edit"], "name": "a\x00b"}, "name", "NUL"),
        ({"scopes": ["edit"], "expires_at": "2026-05-31T00:00:00Z"}, "expires_at", "past"),
        ({"scopes": ["edit"], "expires_at": "2026-07-01T00:00:00"}, "expires_at", "timezone"),
        ({"scopes": ["edit"], "expires_at": 1e12}, "expires_at", "RFC 3339"),
        ({"scopes": ["edit"], "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at", "calendar"),
        ({"scopes": ["edit"], "scope": "edit"}, "scope", "not known"),
    ],
)
def test_an_unusable_request_is_refused_by_name(
    service: Keyed, body: dict[str, object], field: str, says: str
) -> None:
    response = service.client.post("/v1/keys", json=body, headers=bearer(service.admin))
    assert (response.status_code, response.json()["error"]["param"]) == (422, field)
    assert says in response.json()["detail"]
    assert len(_get(service, "/v1/keys")["items"]) == 1


def test_a_revoked_key_stops_at_the_next_request_and_stays_in_the_list(service: Keyed) -> None:
    key = service.key("edit")
    assert service.client.get("/v1/edits", headers=bearer(key)).status_code == 200
    path = f"/v1/keys/{kid(key)}"
    first = service.client.delete(path, headers=bearer(service.admin)).json()
    assert first.pop("cancelled") == 0
    assert first["revoked_at"] == "2026-06-01T00:00:00Z"
    assert service.client.get("/v1/edits", headers=bearer(key)).status_code == 401
    service.clock.pass_by(timedelta(days=1))
    again = service.client.delete(path, headers=bearer(service.admin)).json()
    assert again == first | {"cancelled": 0}
    assert _get(service, "/v1/keys")["items"][-1] == first


def test_an_unknown_key_is_not_found(service: Keyed) -> None:
    for method in ("GET", "DELETE"):
        response = service.client.request(method, "/v1/keys/nobody", headers=bearer(service.admin))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_key")


def test_the_ledger_tells_who_made_and_who_revoked_a_key_but_not_its_name(
    service: Keyed,
) -> None:
    end = "2026-06-02T00:00:00.000000Z"
    key = service.key("edit", "query", name="Ada Lovelace", expires_at=end)
    service.client.delete(f"/v1/keys/{kid(key)}", headers=bearer(service.admin))
    entries = _get(service, "/v1/ledger")["items"]
    admin = f"key:{kid(service.admin)}"
    assert [(entry["kind"], entry["actor"], entry["payload"]) for entry in entries] == [
        ("key", "cli", _made(service.admin, ["admin"], None)),
        ("key", admin, _made(key, ["query", "edit"], end)),
        ("key", admin, {"id": kid(key), "revoked": True}),
    ]
    assert "Lovelace" not in json.dumps(entries)
    assert _get(service, "/v1/ledger/verify")["ok"]
    assert _get(service, f"/v1/keys/{kid(key)}")["ledger_index"] == 1


def test_what_a_key_does_bears_its_name_in_the_ledger(service: Keyed, database: Database) -> None:
    editor, undoer = service.key("edit"), service.key("rollback")
    accepted = service.client.post("/v1/edits", json=FACT, headers=bearer(editor)).json()
    service.client.delete(f"/v1/edits/{accepted['id']}", headers=bearer(editor))
    batch = service.client.post("/v1/edit-batches", json={"edits": [FACT]}, headers=bearer(editor))
    assert batch.status_code == 202
    History(database)
    undone = service.client.post(
        "/v1/rollbacks", json={"to_revision": 0}, headers=bearer(undoer)
    ).json()
    erased = service.client.post(f"/v1/edits/{accepted['id']}/erase", headers=bearer(service.admin))
    assert erased.status_code == 200
    assert undone["actor"] == f"key:{kid(undoer)}"
    entries = [e for e in _get(service, "/v1/ledger")["items"] if e["kind"] not in ("key", "base")]
    told = [(entry["kind"], entry["actor"].removeprefix("key:")) for entry in entries]
    assert told == [
        ("operation", kid(editor)),
        ("verdict", kid(editor)),
        ("operation", kid(editor)),
        ("operation", kid(undoer)),
        ("erasure", kid(service.admin)),
    ]


def test_without_keys_the_ledger_names_the_local_user(client: TestClient) -> None:
    client.post("/v1/edits", json=FACT)
    assert [entry["actor"] for entry in client.get("/v1/ledger").json()["items"]] == ["local"]


@pytest.mark.parametrize("cut", [1, 2])
def test_a_ledger_that_was_cut_before_a_key_is_found_out(
    service: Keyed, database: Database, cut: int
) -> None:
    service.client.delete(f"/v1/keys/{kid(service.key('edit'))}", headers=bearer(service.admin))
    with database.read() as session:
        assert check_chain(session).ok
    with tampering(database) as execute:
        execute('DELETE FROM ledger_entries WHERE "index" > :kept', kept=2 - cut)
    with database.read() as session:
        assert not check_chain(session).ok


def test_a_use_is_noted_at_most_once_a_minute(service: Keyed) -> None:
    key = service.key("query", "edit")

    def last_used() -> str | None:
        found: str | None = _get(service, f"/v1/keys/{kid(key)}")["last_used_at"]
        return found

    assert last_used() is None
    service.client.get("/v1/edits", headers=bearer(key))
    wait_until(lambda: last_used() == "2026-06-01T00:00:00Z", _WAIT_S, what="first use noted")
    service.clock.pass_by(timedelta(seconds=59))
    service.client.get("/v1/edits", headers=bearer(key))
    service.clock.pass_by(timedelta(seconds=1))
    service.client.get("/v1/edits", headers=bearer(key))
    wait_until(lambda: last_used() == "2026-06-01T00:01:00Z", _WAIT_S, what="second use noted")


def test_processes_that_share_a_database_note_a_use_once_a_minute_together(
    service: Keyed, database: Database
) -> None:
    key, clock = kid(service.key("query")), SetClock()
    for seconds in (0, 30, 75):
        process = LastUse(database)
        process.note(key, clock() + timedelta(seconds=seconds))
        if seconds == 30:
            process.note(key, clock() + timedelta(seconds=45))
        expected = "2026-06-01T00:01:15Z" if seconds == 75 else "2026-06-01T00:00:00Z"
        wait_until(
            lambda expected=expected: (  # type: ignore[misc]
                _get(service, f"/v1/keys/{key}")["last_used_at"] == expected
            ),
            _WAIT_S,
            what="the use",
        )
        process.close()


@only_sqlite
def test_a_pepper_from_the_settings_serves_several_data_directories(
    settings: Settings, tmp_path: Path
) -> None:
    one = settings.model_copy(update={"key_pepper": SecretStr("p" * 40)})
    with keyed(one) as service:
        key = service.key("edit")
    with running(one.model_copy(update={"data_dir": tmp_path / "other"})) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200
