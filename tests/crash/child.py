"""A server in a process forked from one that has imported everything: ready in a second.

A crash test starts two servers; with cold starts, importing alone would take minutes in all.
"""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx2

from app.cli.serve import StreamingServer, http_config
from app.cli.worker import run_worker
from app.client import Errata, Refused, ServerAway
from app.kit.failpoints import VARIABLE
from app.main import create_app
from app.settings import Settings
from tests.support.waiting import wait_until

_END_S = 60.0

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload([__name__])


def serve(settings: str, listening: socket.socket, armed: str | None, log: str) -> None:
    """What the process does: serve until it is ended, at the armed failpoint at latest."""
    _prepare(armed, log)
    app = create_app(Settings.model_validate_json(settings))
    StreamingServer(http_config(app, log_level="error")).run(sockets=[listening])


def work(settings: str, armed: str | None, log: str) -> None:
    """What a worker's process does, as `errata worker`."""
    _prepare(armed, log)
    run_worker(Settings.model_validate_json(settings))


def _prepare(armed: str | None, log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 2)
    if armed is not None:
        os.environ[VARIABLE] = armed


def start_worker_process(settings: Settings, log: Path) -> ForkServerProcess:
    """A worker that was just started; whoever starts it ends it."""
    process = _forkserver.Process(target=work, args=(settings.model_dump_json(), None, str(log)))
    process.start()
    return process


class Child:
    """A server process of a test."""

    def __init__(self, process: ForkServerProcess, url: str, log: Path) -> None:
        self.process, self.url, self._log = process, url, log
        self.errata = Errata(url)

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it serves the ledger's head; a test that sees it dead need not wait on."""
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5.0).status_code == 200
        except httpx2.TransportError:
            return False

    @property
    def answers(self) -> bool:
        """Whether its model is there, whatever else is missing."""
        with suppress(ServerAway, Refused):
            return bool(self.errata.models().data)
        return False

    @property
    def was_killed(self) -> bool:
        """Whether it ended as if the kernel had killed it."""
        return self.process.exitcode == -signal.SIGKILL

    def await_ready(self) -> None:
        """Wait until it is ready; fail with its log if it ends before."""
        wait_until(lambda: self.is_ready or not self.process.is_alive(), _END_S)
        assert self.process.is_alive(), self._log.read_text()

    def kill(self) -> None:
        """SIGKILL, as the kernel or a power cut would."""
        self.process.kill()
        self.process.join(_END_S)

    def end(self) -> None:
        """Stop it in order, even if it is frozen."""
        os.kill(self.pid, signal.SIGCONT)
        self.process.terminate()
        self.process.join(_END_S)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"the server did not end: {self._log.read_text()}")


def start(settings: Settings, log: Path, armed: str | None = None) -> Child:
    """A server that was just started; whoever starts it ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = _forkserver.Process(
            target=serve, args=(settings.model_dump_json(), listening, armed, str(log))
        )
        process.start()
    return Child(process, url, log)


@contextmanager
def started(settings: Settings, log: Path, armed: str | None = None) -> Iterator[Child]:
    """A server that was just started; ended in order, unless it died before."""
    child = start(settings, log, armed)
    try:
        yield child
    finally:
        child.errata.close()
        if child.process.is_alive():
            child.end()
