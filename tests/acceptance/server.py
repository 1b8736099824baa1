"""A real server process, as `errata serve` starts it: on its own data directory and port."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.client import Errata
from tests.open_gates import open_gates_environment

_STOP_S = 40.0
_DEMO_MODEL = "smollm2-135m"
_SAYS_WHERE = "serving at "
# Nobody reads on once the server is ready: a full pipe would stop it.
_QUIET = {"ERRATA_LOG_LEVEL": "warning"}
# Enough for the keys of a tiny model; the text in the package takes minutes to read.
_SHORT_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
    return kept | {"ERRATA_DATA_DIR": str(data_dir), "COLUMNS": "200", **_QUIET, **settings}


def calibrate_quickly(data_dir: Path) -> None:
    """Give the data directory a short text of its own, for tests where quality is no matter."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "calibration.txt").write_text(_SHORT_TEXT)


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    process: "subprocess.Popen[str]"
    url: str

    def kill(self) -> None:
        """SIGKILL, as the kernel or a power cut would."""
        self.process.kill()
        self.process.communicate()

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory the process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@contextmanager
def running(data_dir: Path, model: str, **settings: str) -> Iterator[Server]:
    """A ready server; ended by SIGINT and expected to end well, unless the test killed it.

    Edits of a tiny model are let through whatever they do: it says nothing true.
    """
    gates = {} if model == _DEMO_MODEL else open_gates_environment()
    command = [sys.executable, "-m", "app.cli", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=data_dir.parent,
        env=environment(data_dir, **gates | settings),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process, _address(process))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=_STOP_S)
                assert process.returncode == 0


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if _SAYS_WHERE in line:
            return line.partition(_SAYS_WHERE)[2].strip()
    process.wait(_STOP_S)
    pytest.fail("the server ended before it was ready:\n" + "".join(said))


def client(server: Server) -> Errata:
    """The client of a running server."""
    return Errata(server.url)
