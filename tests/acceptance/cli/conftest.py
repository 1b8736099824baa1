"""A real server process on a tiny model, and the command run as a user runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiny import build_tiny_model

Run = Callable[..., subprocess.CompletedProcess[str]]

_STOP_S = 20.0
_COMMAND_S = 120.0
_SAYS_WHERE = "serving at "


def environment(folder: Path) -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ERRATA_")}
    return kept | {"ERRATA_DATA_DIR": str(folder / "data"), "COLUMNS": "200"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[str]:
    """The address of a running server."""
    model = build_tiny_model(folder / "tiny")
    command = [sys.executable, "-m", "app.cli", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if _SAYS_WHERE in line:
            break
    else:
        pytest.fail("the server ended before it was ready:\n" + "".join(said))
    yield line.partition(_SAYS_WHERE)[2].strip()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=_STOP_S)
    assert process.returncode == 0


@pytest.fixture
def alone(folder: Path) -> Run:
    """Runs `errata` with the arguments given, knowing of no server."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=folder,
            env=environment(folder) | variables,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    return run


@pytest.fixture
def errata(alone: Run, server: str) -> Run:
    """Runs `errata` with the arguments given, against the running server."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return alone(*arguments, ERRATA_URL=server)

    return run
