"""An auditor checks files that somebody else made, on a machine with little memory."""

import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.server import environment
from tests.attack.hostile_bundles import write_hostile_bundles

pytestmark = pytest.mark.attack

_TIMEOUT_S = 60.0
_ADDRESS_SPACE = 4 << 30
_LONGEST_OUTPUT = 10_000


def _verified(path: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "verify", str(path)],
        cwd=path.parent,
        env=environment(path.parent / "nothing"),
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
        preexec_fn=_little_memory,
    )


def _little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))


def test_hostile_bundles_are_refused_in_few_words(tmp_path: Path) -> None:
    paths = list(write_hostile_bundles(tmp_path / "bundles"))
    with ThreadPoolExecutor(2) as threads:
        for path, run in zip(paths, threads.map(_verified, paths), strict=True):
            said = run.stdout + run.stderr
            assert run.returncode == 1, (path.name, said)
            assert b"Traceback" not in said, path.name
            assert b"MemoryError" not in said, path.name
            assert b"\x1b" not in said, path.name
            assert len(said) < _LONGEST_OUTPUT, path.name
    assert not (tmp_path / "evil").exists()
    assert {path.name for path in (tmp_path / "bundles").iterdir()} >= {p.name for p in paths}
