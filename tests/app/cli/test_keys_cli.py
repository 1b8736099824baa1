"""`errata keys` on the database itself, as the first thing on a new machine and beside a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import cli
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import bearer, first_key, kid
from tests.support.listening import serving
from tests.support.service import FACT, running

Keys = Callable[..., Result]


@pytest.fixture
def keys(settings: Settings) -> Keys:
    """Runs `errata keys` with the arguments given, for this data directory and database."""

    def run(*arguments: str) -> Result:
        places = {
            "ERRATA_DATA_DIR": str(settings.data_dir),
            "ERRATA_DATABASE_URL": settings.database_url,
            "COLUMNS": "200",
        }
        return CliRunner().invoke(cli, ["keys", *arguments], env=places)

    return run


def _listed(keys: Keys) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(keys("list", "--json").stdout)
    return found


def test_the_first_key_needs_no_server_and_opens_one(keys: Keys, settings: Settings) -> None:
    made = keys("create", "--scope", "admin")
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert kid(key) in made.stderr
    with running(settings.model_copy(update={"host": "0.0.0.0"})) as client:  # noqa: S104
        assert client.get("/v1/edits").status_code == 401
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200


def test_a_key_made_beside_a_running_server_counts_at_once(keys: Keys, settings: Settings) -> None:
    with running(settings) as client:
        assert client.get("/v1/edits").status_code == 200
        key = keys("create", "--scope", "edit", "--scope", "query").stdout.strip()
        assert client.get("/v1/edits").status_code == 401
        assert client.get("/v1/edits", headers=bearer(key)).status_code == 200
        assert client.get("/v1/ledger", headers=bearer(key)).status_code == 403
        assert keys("revoke", kid(key)).stdout == f"API key {kid(key)} is revoked\n"
        assert client.get("/v1/edits", headers=bearer(key)).json()["error"]["code"] == "key_revoked"


def test_a_revocation_on_the_command_line_can_cancel_what_the_key_has_queued(
    keys: Keys, settings: Settings
) -> None:
    key = keys("create", "--scope", "edit").stdout.strip()
    with running(settings) as client:
        for _ in range(2):
            assert client.post("/v1/edits", json=FACT, headers=bearer(key)).status_code == 202
    told = keys("revoke", kid(key), "--cancel-queued").stdout
    assert told == f"API key {kid(key)} is revoked; 2 operations that it had queued are cancelled\n"


def test_keys_are_listed_without_their_secrets(keys: Keys) -> None:
    made = json.loads(
        keys(
            "create", "--scope", "audit", "--name", "the auditor", "--expires", "90d", "--json"
        ).stdout
    )
    secret = made.pop("key").split("_")[2]
    assert _listed(keys) == [made]
    assert (made["name"], made["scopes"]) == ("the auditor", ["audit"])
    assert made["expires_at"] > made["created_at"]
    shown = keys("list").stdout
    assert made["id"] in shown
    assert "the auditor" in shown
    assert secret not in shown


def test_the_ledger_says_that_a_key_was_made_on_the_command_line(
    keys: Keys, settings: Settings
) -> None:
    key = keys("create", "--scope", "admin").stdout.strip()
    with running(settings) as client:
        (entry,) = client.get("/v1/ledger", headers=bearer(key)).json()["items"]
    assert (entry["kind"], entry["actor"], entry["payload"]["id"]) == ("key", "cli", kid(key))


@only_sqlite
def test_a_folder_of_others_decides_nothing(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ERRATA_DATA_DIR=/elsewhere\n")
    (tmp_path / ".env").chmod(0o666)
    monkeypatch.chdir(tmp_path)
    done = keys("list")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "can be written by others" in done.stderr


@only_sqlite
def test_a_secret_that_the_list_of_processes_shows_is_warned_of(
    keys: Keys, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(url: str) -> str:
        arguments = ["list", "--database-url", url]
        monkeypatch.setattr("sys.argv", ["errata", "keys", *arguments])
        return keys(*arguments).stderr

    told = shown("postgresql://u:hunter2@127.0.0.1:1/none")
    assert "ERRATA_DATABASE_URL_FILE" in told
    assert "hunter2" not in told
    assert shown(settings.database_url) == ""


@only_sqlite
def test_a_key_may_be_in_a_file(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as served:
        file = tmp_path / "api-key"
        file.write_text(first_key(settings) + "\n")

        def log(file: Path) -> Result:
            environment = {"ERRATA_API_KEY_FILE": str(file), "COLUMNS": "200"}
            return CliRunner().invoke(cli, ["log", "--json", "--url", served.url], env=environment)

        assert log(file).exit_code == 0
        done = log(tmp_path / "absent")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "ERRATA_API_KEY_FILE" in done.stderr


@only_sqlite
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("create",), 2, "--scope"),
        (("create", "--scope", "everything"), 2, "everything"),
        (("create", "--scope", "edit", "--expires", "3y"), 2, "90d"),
        (("create", "--scope", "edit", "--expires", "0d"), 2, "90d"),
        (("create", "--scope", "edit", "--name", " "), 2, "blank"),
        (("create", "--scope", "edit", "--database-url", "mysql://x"), 2, "database_url"),
        (("revoke", "nobody"), 1, "'nobody'"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    keys: Keys, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = keys(*arguments)
    assert done.exit_code == status
    assert told in done.stderr
    assert done.stdout == ""
    assert _listed(keys) == []
