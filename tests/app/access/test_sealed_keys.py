"""What somebody gains who writes to the database: no scope, no time, no key that was revoked."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.database.database import Database
from app.keys.bootstrap import list_keys, revoke_key
from app.settings import Settings
from tests.support.keyed import Keyed, bearer, keyed, kid
from tests.support.service import running
from tests.support.tampering import tampering


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


def _answer(service: Keyed, key: str, path: str = "/v1/edits") -> tuple[int, str]:
    response = service.client.get(path, headers=bearer(key))
    problem = response.json() if response.status_code >= 400 else {}
    return response.status_code, problem.get("error", {}).get("code", "")


@pytest.mark.parametrize(
    "change",
    [
        "scopes = '[\"admin\"]'",
        'scopes = \'["query", "edit", "admin"]\'',
        "scopes = '[]'",
        "scopes = '{\"admin\": 1.5}'",
        "scopes = '7'",
        "scopes = 'null'",
        "expires_at = NULL",
        "expires_at = '2030-01-01 00:00:00+00'",
        "seal = ''",
        "seal = 'é'",
        "seal = (SELECT seal FROM api_keys WHERE id = :admin)",
        "digest = (SELECT digest FROM api_keys WHERE id = :admin)",
        "seal = digest",
    ],
)
def test_a_row_that_was_altered_opens_nothing_and_is_told_of(
    service: Keyed, database: Database, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    key = service.key("query", "edit", expires_at="2026-07-01T00:00:00Z")
    assert _answer(service, key) == (200, "")
    with tampering(database) as execute:
        admin = {"admin": kid(service.admin)} if ":admin" in change else {}
        execute(f"UPDATE api_keys SET {change} WHERE id = :id", id=kid(key), **admin)  # noqa: S608
    assert _answer(service, key) == (401, "key_invalid")
    assert _answer(service, service.admin) == (200, "")
    told = f"key_tampered key_id={kid(key)}" in caplog.text
    assert told == ("digest =" not in change)  # then its holder is a stranger


@pytest.mark.parametrize(
    "change", ["scopes = '[1'", "expires_at = 'soon'", "revoked_at = 'never'", "seal = x'00'"]
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_no_key_could_hold_is_no_fault_of_the_service(
    service: Keyed, database: Database, change: str
) -> None:
    key = service.key("edit")
    with tampering(database) as execute:
        execute(f"UPDATE api_keys SET {change} WHERE id = :id", id=kid(key))  # noqa: S608
    assert _answer(service, key) == (401, "key_invalid")


@pytest.mark.parametrize(
    "change",
    [
        "scopes = '[1'",
        "scopes = '7'",
        "scopes = '[\"all\"]'",
        "expires_at = 'soon'",
        "name = x'00ff'",
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_keys_are_listed_with_one_whose_row_holds_garbage(
    service: Keyed, database: Database, settings: Settings, change: str
) -> None:
    before, broken, after = (service.key("edit") for _ in range(3))
    with tampering(database) as execute:
        execute(f"UPDATE api_keys SET {change} WHERE id = :id", id=kid(broken))  # noqa: S608
    headers = bearer(service.admin)
    listed = service.client.get("/v1/keys", headers=headers)
    assert listed.status_code == 200, listed.text
    found = [(item["id"], item["damaged"]) for item in listed.json()["items"]]
    keys = (service.admin, before, broken, after)
    assert found == [(kid(key), key == broken) for key in keys]
    one = service.client.get(f"/v1/keys/{kid(broken)}", headers=headers)
    assert (one.status_code, one.json()["scopes"]) == (200, [])
    assert [key.damaged for key in list_keys(settings)] == [False, False, True, False]
    assert service.client.delete(f"/v1/keys/{kid(broken)}", headers=headers).status_code < 500


def test_a_name_is_no_authority(service: Keyed, database: Database) -> None:
    key = service.key("edit", name="importer")
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET name = 'else' WHERE id = :id"), {"id": kid(key)})
    assert _answer(service, key) == (200, "")


def test_a_revocation_that_was_cleared_from_its_row_holds(
    service: Keyed, database: Database, settings: Settings
) -> None:
    key = service.revoked()
    clear = text("UPDATE api_keys SET revoked_at = NULL, revocation_index = NULL")
    with database.write() as session:
        session.execute(clear)
    assert _answer(service, key) == (401, "key_revoked")
    revoke_key(settings, kid(key))  # says so in its row again, and not a second time in the ledger
    revocations = [
        entry
        for entry in service.client.get("/v1/ledger", headers=bearer(service.admin)).json()["items"]
        if entry["payload"] == {"id": kid(key), "revoked": True}
    ]
    assert len(revocations) == 1


def test_a_revocation_that_was_forged_does_not_stand_in_the_way_of_a_true_one(
    service: Keyed, database: Database, settings: Settings
) -> None:
    key = service.key("edit")
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = created_at"))
    revoke_key(settings, kid(key))
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = NULL"))
    assert _answer(service, key) == (401, "key_revoked")


def test_a_door_does_not_open_when_all_keys_are_deleted(
    settings: Settings, database: Database
) -> None:
    with keyed(settings) as service:
        key = service.admin
        with database.write() as session:
            session.execute(text("DELETE FROM api_keys"))
        assert service.client.get("/v1/edits").status_code == 401
    with running(settings) as client:
        assert client.get("/v1/edits").status_code == 401
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 401


def test_the_ledger_is_asked_about_a_key_through_an_index(database: Database) -> None:
    """However long it is: each request asks."""
    asked = "SELECT 1 FROM ledger_entries WHERE kind = 'key' AND payload = 'x'"
    with database.write() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SET LOCAL enable_seqscan = off"))  # it is empty in this test
            plan = session.execute(text(f"EXPLAIN {asked}")).all()
        else:
            plan = session.execute(text(f"EXPLAIN QUERY PLAN {asked}")).all()
    assert "ix_ledger_entries_key_payload" in str(plan)
