from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database.copying import copy_sqlite
from app.database.database import Database
from app.database.migration import upgrade
from app.worker.sweeping import sweep
from tests.integration.edited import Edited
from tests.integration.engines import only_sqlite


@pytest.fixture
def edited(database: Database, tmp_path: Path) -> Edited:
    """Four revisions, the third taken back, the second labelled, the last kept by the worker."""
    edited = Edited(database, tmp_path / "data", every=4)
    for _ in range(3):
        edited.edit()
    edited.label("release", 2)
    edited.roll_back(2)
    return edited


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Database]:
    """Another database than the one that was edited."""
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    yield database
    database.close()


def _sweep(edited: Edited) -> None:
    sweep(edited.database, edited.artefacts, edited.snapshots)


def test_what_nothing_refers_to_is_removed(edited: Edited) -> None:
    kept = edited.artefacts.digests(), edited.files.digests()
    for store in (edited.artefacts, edited.files):
        store.put(b"stored by a process that died before its commit")
        (store.path("x").parent / "tmp1234.partial").write_bytes(b"half of a file")
    _sweep(edited)
    assert (edited.artefacts.digests(), edited.files.digests()) == kept
    for folder in ("artefacts", "snapshots"):
        assert not list((edited.folder / folder).glob("*.partial"))


def test_whatever_was_ever_committed_is_kept(edited: Edited) -> None:
    _sweep(edited)
    fresh = edited.restarted()
    for revision in range(5):
        assert fresh.digest(revision) == edited.recorded_digest(revision)
    assert edited.artefact_of(3) in edited.artefacts.digests()  # no longer live


def test_a_database_that_did_not_edit_here_removes_nothing(
    edited: Edited, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade(other)
    stranger = Edited(other, edited.folder)
    before = edited.artefacts.digests()
    _sweep(stranger)
    assert edited.artefacts.digests() == before
    assert "sweep_skipped" in caplog.text


def test_a_second_database_with_the_same_folder_removes_nothing(
    edited: Edited, other: Database
) -> None:
    _sweep(edited)
    upgrade(other)
    stranger = Edited(other, edited.folder)
    stranger.edit(2)
    before = edited.artefacts.digests()
    _sweep(stranger)
    assert edited.artefacts.digests() == before


@only_sqlite
def test_an_older_copy_of_the_database_removes_nothing_that_came_after(
    edited: Edited, other: Database, tmp_path: Path
) -> None:
    copy_sqlite(tmp_path / "errata.db", tmp_path / "other.db")
    edited.edit()
    _sweep(edited)
    before = edited.artefacts.digests()
    _sweep(Edited(other, edited.folder))
    assert edited.artefacts.digests() == before


def test_what_a_crash_leaves_after_a_sweep_goes_in_the_next(edited: Edited) -> None:
    _sweep(edited)
    edited.edit()
    kept = edited.artefacts.digests()
    edited.artefacts.put(b"stored by a process that died before its commit")
    _sweep(edited.restarted())
    assert edited.artefacts.digests() == kept


def test_other_files_in_the_folder_are_left_alone(edited: Edited) -> None:
    note = edited.folder / "artefacts" / "README"
    note.write_text("somebody's own")
    _sweep(edited)
    assert note.exists()
