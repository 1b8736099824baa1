"""Told to end, a process ends: in order if it can, and hard after ten seconds if it cannot."""

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.settings import Settings
from tests.acceptance.server import environment
from tests.support.engines import only_sqlite
from tests.support.raw_http import PATIENCE_S, request, serving, statuses, stop
from tests.support.tiny import build_tiny_model

_BUSY = """
import signal, sys, threading, time
from app.main import Components, create_app
from app.kit.logs import configure
from app.cli.serve import StreamingServer, http_config
from app.settings import Settings
from tests.support.service import load_nothing

def hold_the_interpreter():
    sum(range(10**15))

def busy_loop():
    time.sleep(1000)

class Server(StreamingServer):
    async def on_tick(self, counter):
        if counter == 1:
            print(flush=True)
            {block}
        return await super().on_tick(counter)

    def handle_exit(self, sig, frame):
        super().handle_exit(sig, frame)
        {after}

configure("console", "info")
settings = Settings.model_validate_json(sys.argv[1])
app = create_app(settings, components=Components(start_runtime=load_nothing))
Server(http_config(app, port=0, log_config=None)).run()
"""


@only_sqlite
@pytest.mark.parametrize(
    ("block", "after", "told"),
    [
        ("busy_loop()", "", "ended_hard"),
        ("pass", "hold_the_interpreter()", "hold_the_interpreter"),
        ("busy_loop()", "threading.Thread(target=hold_the_interpreter).start()", "hold_the"),
    ],
)
def test_a_server_that_cannot_end_in_order_is_ended(
    settings: Settings, block: str, after: str, told: str
) -> None:
    script = _BUSY.replace("{block}", block).replace("{after}", after)
    with (
        subprocess.Popen(
            [sys.executable, "-c", script, settings.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert told in log


@only_sqlite
def test_open_requests_do_not_keep_a_server_and_are_no_error(settings: Settings) -> None:
    with serving(settings) as server, ExitStack() as stack:
        stuck = stack.enter_context(server.connect())
        stuck.sendall(request("POST", "/v1/edits", b"Content-Length: 9"))
        listener = stack.enter_context(server.connect())
        listener.sendall(request("GET", "/v1/events"))
        assert statuses(listener.recv(65536)) == [200]
        assert stop(server) == -signal.SIGTERM  # uvicorn raises it again when it is done
        assert statuses(stuck.recv(65536)) == [503]
        assert "Exception" not in server.log
        assert "ended_hard" not in server.log


def test_a_worker_ends_although_its_model_still_loads(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "model")
    with (
        subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker", "--model", str(model)],
            env=environment(tmp_path / "data", ERRATA_REDIS_URL="redis://127.0.0.1:1/0"),
            stderr=subprocess.PIPE,
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
