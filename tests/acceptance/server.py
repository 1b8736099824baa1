"""A real server process, as `errata serve` starts it: on its own data directory and port."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.client import Errata
from tests.support.open_gates import open_gates_environment
from tests.support.waiting import wait_until

_READY_S = 280.0  # the demo model may have to be converted first
_STOP_S = 40.0
_DEMO_MODEL = "smollm2-135m"
_SAYS_WHERE = "serving at "
_EDITS_WAIT, _EDITS_GO_ON = "Edits are accepted, and wait", "Edits are computed from now on"
# Enough for the keys of a tiny model; the text in the package takes minutes to read.
_SHORT_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
    return kept | {"ERRATA_DATA_DIR": str(data_dir), "COLUMNS": "200", **settings}


def calibrate_quickly(data_dir: Path) -> None:
    """Give the data directory a short text of its own, for tests where quality is no matter."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "calibration.txt").write_text(_SHORT_TEXT)


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def kill(self) -> None:
        """SIGKILL, as the kernel or a power cut would."""
        self.process.kill()
        self.process.wait()

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory the process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@contextmanager
def running(
    data_dir: Path, model: str, descriptors: int | None = None, /, **settings: str
) -> Iterator[Server]:
    """A ready server; ended by SIGINT and expected to end well, unless the test killed it.

    Edits of a tiny model are let through whatever they do: it says nothing true. `descriptors` is
    what `ulimit -n` grants it.
    """
    gates = {} if model == _DEMO_MODEL else open_gates_environment()
    command = [sys.executable, "-m", "app.cli", "serve", "--model", model, "--port", "0"]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    # A file: nobody reads on once the server is ready, and a full pipe would stop it.
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(
            command,
            cwd=data_dir.parent,
            env=environment(data_dir, **gates | settings),
            stderr=log,
        ) as process,
    ):
        try:
            yield Server(process, _address(process, Path(log.name)), Path(log.name))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(_STOP_S) == 0


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    def said() -> list[str]:
        return log.read_text().split("\n")[:-1]  # whole lines

    def where() -> list[str]:
        return [line.partition(_SAYS_WHERE)[2] for line in said() if _SAYS_WHERE in line]

    def edits() -> bool:
        told = "\n".join(said())
        return _EDITS_WAIT not in told or _EDITS_GO_ON in told

    def is_settled() -> bool:
        return bool(where() and edits()) or process.poll() is not None

    wait_until(is_settled, _READY_S, what="readiness")
    if not where():
        pytest.fail("the server ended before it was ready:\n" + "\n".join(said()))
    return where()[0].strip()


def client(server: Server) -> Errata:
    """The client of a running server."""
    return Errata(server.url)
