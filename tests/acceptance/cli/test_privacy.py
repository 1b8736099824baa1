"""Nobody else on the machine may read what people wrote: files as real processes make them."""

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import Errata
from tests.acceptance.cli.conftest import Run
from tests.acceptance.server import calibrate_quickly, running
from tests.support.tiny import build_tiny_model

_WORD = "Zanzibarbara"
_NOBODY = 65534
_LISTED = ("", "exports", "snapshots")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, on a machine where new files can be read by everybody."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _open_to_others(*folders: Path) -> list[Path]:
    """Everything in these folders, and they themselves, that others may do something with."""
    return [
        path
        for folder in folders
        for path in (folder, *sorted(folder.rglob("*")))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]


def test_whatever_is_made_can_be_read_by_its_owner_only(
    place: Path, alone: Run, tmp_path: Path
) -> None:
    data, backup = place / "srv" / "errata", place / "backups" / "today"
    assert alone("keys", "list", "--data-dir", str(data)).returncode == 0
    calibrate_quickly(data)
    with running(data, str(build_tiny_model(tmp_path / "tiny"))) as server:
        with Errata(server.url) as errata:
            edit = errata.submit(_WORD, "{} speaks", "French", force=True)
            assert errata.wait(edit.id).status == "committed"
            errata.snapshot("kept")
        export, bundle = place / "delta.tar", place / "bundle.tar"
        for command in (
            ("export", "--format", "delta", "--out", str(export)),
            ("bundle", str(bundle)),
            ("backup", "--data-dir", str(data), str(backup)),
        ):
            done = alone(*command, ERRATA_URL=server.url)
            assert done.returncode == 0, done.stderr
        # While it runs: SQLite's log is there, and what the queue has.
        made = {path.name for path in data.iterdir()}
        assert made >= {"errata.db", "errata.db-wal", "errata.db-shm", "exports", "snapshots"}
        assert _open_to_others(data, backup) == []
    assert _WORD.encode() in (backup / "errata.db").read_bytes()
    assert (_mode(export), _mode(bundle)) == (0o600, 0o600)
    # Folders made on the way are no secret of ours.
    assert (_mode(place / "srv"), _mode(place / "backups")) == (0o755, 0o755)


@pytest.fixture
def opened(place: Path) -> Path:
    """A data directory that was left open to others."""
    data = place / "data"
    for name in _LISTED:
        (data / name).mkdir(parents=True, exist_ok=True)
        (data / name / "file").write_text(_WORD)
    for name in ("errata.db", "errata.db-wal", "errata.db-shm"):
        (data / name).touch()
    assert len(_open_to_others(data)) == 9
    return data


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("serve", "--model", "none.gguf", "--port", "0"), ("worker",)]
)
def test_what_was_left_open_is_closed(opened: Path, alone: Run, command: tuple[str, ...]) -> None:
    done = alone(*command, "--data-dir", str(opened), ERRATA_MODEL="none.gguf")
    assert _open_to_others(opened) == []
    if command[0] != "keys":
        assert f"others on this machine could read {opened}" in done.stderr
        again = alone(*command, "--data-dir", str(opened), ERRATA_MODEL="none.gguf")
        assert "could read" not in again.stderr


@needs_root
def test_somebody_else_gets_nowhere_in_it(opened: Path, alone: Run) -> None:
    cat = ["cat", str(opened / "file")]
    before = subprocess.run(cat, user=_NOBODY, capture_output=True, text=True, check=True)
    assert before.stdout == _WORD
    assert alone("keys", "list", "--data-dir", str(opened)).returncode == 0
    after = subprocess.run(cat, user=_NOBODY, capture_output=True, text=True, check=False)
    assert (after.returncode, after.stdout) == (1, "")


def test_a_link_is_followed_to_what_it_leads_to(opened: Path, place: Path, alone: Run) -> None:
    link = place / "link"
    link.symlink_to(opened)
    assert alone("keys", "list", "--data-dir", str(link)).returncode == 0
    assert link.is_symlink()
    assert _open_to_others(opened) == []
    dangling = place / "dangling"
    dangling.symlink_to(place / "new")
    assert alone("keys", "list", "--data-dir", str(dangling)).returncode == 0
    assert _mode(place / "new") == 0o700


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",), ("keys", "list")])
def test_a_data_directory_of_somebody_else_is_refused(
    opened: Path, alone: Run, command: tuple[str, ...]
) -> None:
    foreign = Path("/usr")
    if os.geteuid() == 0:
        foreign = opened
        os.chown(opened, _NOBODY, -1)
    before = _mode(foreign)
    done = alone(*command, "--data-dir", str(foreign))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"the data directory {foreign} belongs to" in done.stderr
    assert "ERRATA_DATA_DIR" in done.stderr
    assert _mode(foreign) == before


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)])
def test_running_as_root_is_told(place: Path, alone: Run, command: tuple[str, ...]) -> None:
    done = alone(*command, "--data-dir", str(place / "new"), ERRATA_MODEL="none.gguf")
    is_root = os.geteuid() == 0
    assert ("Running as root" in done.stderr) is is_root
    assert ('"event": "running_as_root"' in done.stderr) is is_root
