"""The service is killed in the middle of accepting: what was answered 202 is there afterwards."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from app.settings import Settings
from tests.support.service import FACT, running
from tests.support.waiting import wait_until

_SERVER = """
import socket, sys
from app.main import Components, create_app
from app.cli.serve import StreamingServer, http_config
from app.settings import Settings
from tests.support.service import load_nothing

settings = Settings.model_validate_json(sys.argv[1])
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = create_app(settings, components=Components(start_runtime=load_nothing))
StreamingServer(http_config(app, log_level="critical")).run(sockets=[listening])
"""


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    command = [sys.executable, "-c", _SERVER, settings.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        try:
            yield process, url
        finally:
            process.kill()


def _post_until_it_dies(url: str, poster: int, accepted: list[str]) -> None:
    with httpx2.Client(base_url=url, timeout=10.0) as client:
        for number in range(10_000):
            try:
                response = client.post("/v1/edits", json=FACT | {"subject": f"S{poster}-{number}"})
            except httpx2.TransportError:
                return
            assert response.status_code == 202
            accepted.append(response.json()["id"])


@pytest.mark.crash
def test_no_accepted_edit_is_lost_when_the_service_is_killed(settings: Settings) -> None:
    accepted: list[str] = []
    with _server(settings) as (process, url):
        posters = [
            threading.Thread(target=_post_until_it_dies, args=(url, number, accepted))
            for number in range(4)
        ]
        for poster in posters:
            poster.start()
        wait_until(lambda: len(accepted) > 40, 60.0, what="forty accepted edits")
        process.kill()
        for poster in posters:
            poster.join()
    with running(settings) as client:
        items = client.get("/v1/edits", params={"limit": 1000}).json()["items"]
        assert set(accepted) <= {item["id"] for item in items}
        assert [item["seq"] for item in items] == list(range(1, len(items) + 1))
        assert {item["status"] for item in items} == {"accepted"}
        verdict = client.get("/v1/ledger/verify").json()
        assert (verdict["ok"], verdict["entries"]) == (True, len(items))
        assert client.post("/v1/edits", json=FACT).json()["seq"] == len(items) + 1
