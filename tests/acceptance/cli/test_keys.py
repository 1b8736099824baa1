"""Keys around real processes: a server that refuses to start, and commands that send a key."""

from pathlib import Path

import httpx2

from app.client import Errata
from tests.acceptance.cli.conftest import Run
from tests.acceptance.server import calibrate_quickly, running
from tests.support.tiny import build_tiny_model


def test_a_server_that_others_reach_refuses_to_start_until_there_is_a_key(
    alone: Run, tmp_path: Path
) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):  # noqa: S104
        done = alone("serve", "--host", host, "--data-dir", str(tmp_path / "data"))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert "errata keys create --scope admin" in done.stderr


def test_a_key_closes_a_running_server_and_the_command_sends_it(alone: Run, tmp_path: Path) -> None:
    model, data = build_tiny_model(tmp_path / "tiny"), tmp_path / "data"
    calibrate_quickly(data)
    with running(data, str(model)) as server:
        assert httpx2.get(f"{server.url}/readyz").json()["access"] == "open"
        made = alone("keys", "create", "--scope", "audit", "--data-dir", str(data))
        key = made.stdout.strip()
        assert httpx2.get(f"{server.url}/readyz").json() == {"status": "ready"}
        stranger = alone("log", ERRATA_URL=server.url)
        assert stranger.returncode == 4
        assert "(key_needed)" in stranger.stderr
        log = alone("log", ERRATA_URL=server.url, ERRATA_API_KEY=key)
        assert log.returncode == 0, log.stderr
        assert "made for audit" in log.stdout
        with Errata(server.url, api_key=key) as errata:
            assert errata.verify().ok
            assert errata._http.get("/readyz").json()["access"] == "keys"
    with running(data, str(model)) as again:
        assert httpx2.get(f"{again.url}/v1/revisions").status_code == 401
