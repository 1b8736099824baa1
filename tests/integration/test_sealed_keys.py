"""What somebody gains who writes to the database: no scope, no time, no key that was revoked."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from app.access.seal import seal_old_keys
from app.access.token import Pepper, Token
from app.database.database import Database
from app.database.migration import downgrade, upgrade
from app.database.tables.ledger import EntryKind
from app.keys.bootstrap import list_keys, revoke_key
from app.ledger import service as ledger
from app.settings import Settings
from tests.chain import check_chain
from tests.integration.keyed import Keyed, bearer, keyed, kid
from tests.integration.service import running
from tests.integration.tampering import tampering

_MADE_AT = datetime(2026, 5, 1, tzinfo=UTC)


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
        "seal = NULL",
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


@pytest.mark.parametrize("change", ["scopes = '[1'", "expires_at = 'soon'", "revoked_at = 'never'"])
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


def _old_key(database: Database, settings: Settings, *scopes: str) -> str:
    """A key as the release before seals made it, after which the database is upgraded."""
    downgrade(database, "0009")
    token, pepper = Token.draw(), Pepper.of(settings, make=True)
    listed = "[" + ", ".join(f'"{scope}"' for scope in scopes) + "]"
    with database.write() as session:
        entry = ledger.append(
            session,
            EntryKind.KEY,
            {"id": token.kid, "scopes": list(scopes), "expires_at": None},
            actor="cli",
            now=_MADE_AT,
        )
        session.execute(
            text(
                "INSERT INTO api_keys (id, digest, scopes, created_at, ledger_index) "
                "VALUES (:id, :digest, :scopes, '2026-05-01 00:00:00+00', :entry)"
            ),
            {
                "id": token.kid,
                "digest": pepper.digest(token),
                "scopes": listed,
                "entry": entry.index,
            },
        )
    upgrade(database)
    return token.text


def test_keys_of_a_release_without_seals_are_sealed_by_the_first_start(
    settings: Settings, database: Database
) -> None:
    settings.data_dir.mkdir()
    key = _old_key(database, settings, "edit")
    with running(settings) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200
    with database.read() as session:
        told = [entry.payload for entry in ledger.entries(database)]
        assert check_chain(session).ok
    assert told[-1] == f'{{"expires_at":null,"id":"{kid(key)}","scopes":["edit"],"sealed":true}}'
    with running(settings) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200
    assert len(list(ledger.entries(database))) == len(told)


def test_an_old_key_that_was_widened_before_the_first_start_is_not_sealed(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settings.data_dir.mkdir()
    key = _old_key(database, settings, "edit")
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET scopes = '[\"admin\"]'"))
    with running(settings) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 401
    assert f"key_tampered key_id={kid(key)}" in caplog.text


def test_sealing_happens_once_and_whoever_removes_a_seal_later_gets_no_other(
    settings: Settings, database: Database
) -> None:
    settings.data_dir.mkdir()
    key = _old_key(database, settings, "edit")
    seal_old_keys(database, settings, _MADE_AT)
    with database.write() as session:
        entry = ledger.append(
            session,
            EntryKind.KEY,
            {"id": kid(key), "scopes": ["admin"], "expires_at": None},
            actor="cli",
            now=_MADE_AT,
        )
        session.execute(
            text("UPDATE api_keys SET seal = NULL, scopes = '[\"admin\"]', ledger_index = :entry"),
            {"entry": entry.index},
        )
    with running(settings) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 401


def test_a_key_that_was_sealed_after_an_upgrade_is_no_flaw_in_the_ledger(
    settings: Settings, database: Database
) -> None:
    settings.data_dir.mkdir()
    key = _old_key(database, settings, "audit")
    with running(settings) as client:
        assert client.get("/v1/ledger/verify", headers=bearer(key)).json()["ok"]


def test_without_the_pepper_old_keys_wait_to_be_sealed(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settings.data_dir.mkdir()
    key = _old_key(database, settings, "edit")
    pepper = settings.data_dir / "key-pepper"
    kept = pepper.read_bytes()
    pepper.unlink()
    seal_old_keys(database, settings, _MADE_AT)
    assert "keys_not_sealed" in caplog.text
    pepper.write_bytes(kept)
    with running(settings) as client:
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200


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
