import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import Run


@pytest.fixture
def keys(alone: Run, tmp_path: Path) -> Run:
    """Runs `errata keys` on a data directory of the test's own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return alone("keys", *arguments, ERRATA_DATA_DIR=str(tmp_path / "data"))

    return run


def test_a_key_is_made_listed_and_revoked_without_a_server(keys: Run) -> None:
    made = keys("create", "--scope", "edit", "--scope", "query", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    kid = key.split("_")[1]
    assert key.startswith("lme_")
    assert key not in made.stderr
    listed = keys("list", "--json")
    assert key not in listed.stdout
    (found,) = json.loads(listed.stdout)
    assert (found["id"], found["scopes"], found["revoked_at"]) == (kid, ["query", "edit"], None)
    assert found["expires_at"] > found["created_at"]
    assert keys("revoke", kid).stdout.strip() == f"API key {kid} is revoked"
    assert json.loads(keys("list", "--json").stdout)[0]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("create",), 2, "--scope"),
        (("create", "--scope", "everything"), 2, "everything"),
        (("create", "--scope", "edit", "--expires", "soon"), 2, "write 90d"),
        (("revoke", "nothing"), 1, "no API key has the id 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_told(
    keys: Run, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = keys(*arguments)
    assert (done.returncode, told in done.stderr) == (status, True)
    assert "Traceback" not in done.stderr


def test_a_server_that_others_reach_says_how_to_make_its_first_key(
    alone: Run, tmp_path: Path
) -> None:
    done = alone("serve", "--host", "0.0.0.0", ERRATA_DATA_DIR=str(tmp_path))  # noqa: S104
    assert done.returncode == 1
    assert "errata keys create --scope admin" in done.stderr
