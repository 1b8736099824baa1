"""A real server process on a tiny model, and the command run as a user runs it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import calibrate_quickly, environment, running
from tests.support.tiny import build_tiny_model

Run = Callable[..., subprocess.CompletedProcess[str]]

_COMMAND_S = 120.0


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[str]:
    """The address of a running server."""
    model = build_tiny_model(folder / "tiny")
    calibrate_quickly(folder / "data")
    with running(folder / "data", str(model)) as server:
        yield server.url


@pytest.fixture
def alone(folder: Path) -> Run:
    """Runs `errata` with the arguments given, knowing of no server."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=folder,
            env=environment(folder / "data") | variables,
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
