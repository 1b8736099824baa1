from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from app.database.copying import copy_sqlite
from app.database.database import Database
from app.database.migration import upgrade
from app.errors import SetBack
from app.kit.clock import utc_now
from app.ledger.containment import newest_in
from app.ledger.mark import Mark, Marks
from app.ledger.opening import open_database
from app.settings import Settings
from app.worker.sweeping import sweep
from tests.support.edited import Edited
from tests.support.engines import only_sqlite

TODAY = date(2027, 3, 1)
ORPHAN = b"stored by a process that died before its commit"


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


def _sweep(edited: Edited, today: date = TODAY) -> None:
    marks = Marks(edited.folder)
    sweep(edited.database, edited.artefacts, edited.snapshots, marks, today)


def _aside(edited: Edited) -> set[str]:
    return {path.stem for path in (edited.folder / "artefacts" / "orphans").rglob("*.safetensors")}


def test_an_artefact_that_nothing_names_is_put_aside_and_halves_are_removed(
    edited: Edited,
) -> None:
    kept = edited.artefacts.digests(), edited.files.digests()
    for store in (edited.artefacts, edited.files):
        orphan = store.put(ORPHAN)
        (store.folder / "tmp1234.partial").write_bytes(b"half of a file")
    _sweep(edited)
    assert (edited.artefacts.digests(), edited.files.digests()) == kept
    assert _aside(edited) == {orphan}
    for folder in ("artefacts", "snapshots"):
        assert not list((edited.folder / folder).glob("*.partial"))


def test_whatever_was_ever_committed_is_kept(edited: Edited) -> None:
    _sweep(edited)
    fresh = edited.restarted()
    for revision in range(5):
        assert fresh.digest(revision) == edited.recorded_digest(revision)
    assert edited.artefact_of(3) in edited.artefacts.digests()  # no longer live
    assert _aside(edited) == set()


@pytest.mark.parametrize("found_by", ["the next sweep", "reading", "checking"])
def test_an_artefact_that_is_named_again_comes_back(edited: Edited, found_by: str) -> None:
    needed = edited.artefact_of(1)
    content = edited.artefacts.read(needed)
    edited.artefacts.set_aside_all_but(edited.artefacts.digests() - {needed}, TODAY)
    assert _aside(edited) == {needed}
    if found_by == "reading":
        assert edited.artefacts.read(needed) == content
    elif found_by == "checking":
        edited.artefacts.check(needed)
    else:
        _sweep(edited, TODAY + timedelta(days=400))
    assert needed in edited.artefacts.digests()
    assert _aside(edited) == set()


def test_an_orphan_is_removed_after_a_month_and_not_before(edited: Edited) -> None:
    orphan = edited.artefacts.put(ORPHAN)
    _sweep(edited)
    _sweep(edited, TODAY + timedelta(days=30))
    assert _aside(edited) == {orphan}
    _sweep(edited, TODAY + timedelta(days=31))
    assert _aside(edited) == set()
    assert not list((edited.folder / "artefacts" / "orphans").iterdir())


def test_an_orphan_stays_where_an_older_database_was_ever_accepted(edited: Edited) -> None:
    orphan = edited.artefacts.put(ORPHAN)
    marks = Marks(edited.folder)
    marks.move(Mark(99, "ab" * 32, "cd" * 32), durably=True)  # of the history that was lost
    with edited.database.read() as session:
        newest = newest_in(session)
    assert newest is not None
    marks.begin_anew(newest)
    _sweep(edited)
    _sweep(edited, TODAY + timedelta(days=4000))
    assert _aside(edited) == {orphan}


def test_a_database_that_did_not_edit_here_puts_nothing_aside(
    edited: Edited, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade(other)
    stranger = Edited(other, edited.folder)
    before = edited.artefacts.digests()
    _sweep(stranger)
    assert edited.artefacts.digests() == before
    assert "sweep_skipped" in caplog.text


@only_sqlite
def test_a_sweep_on_an_older_database_is_refused(
    edited: Edited, other: Database, tmp_path: Path
) -> None:
    copy_sqlite(tmp_path / "errata.db", tmp_path / "other.db")
    edited.edit()
    with edited.database.read() as session:
        newest = newest_in(session)
    assert newest is not None
    Marks(edited.folder).move(newest, durably=True)
    before = edited.artefacts.digests()
    with pytest.raises(SetBack):
        _sweep(Edited(other, edited.folder))
    assert edited.artefacts.digests() == before


@only_sqlite
def test_edits_that_an_older_database_lacks_are_back_with_the_newer_one(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """A backup is put in place and accepted, and then the newest database is put back."""
    guarded = open_database(settings, utc_now)
    edited = Edited(guarded, settings.data_dir)
    edited.edit()
    backup, newest = tmp_path / "backup.db", tmp_path / "newest.db"
    copy_sqlite(tmp_path / "errata.db", backup)
    edited.edit()
    artefacts = edited.artefacts.digests()
    copy_sqlite(tmp_path / "errata.db", newest)
    guarded.close()
    database.close()

    older = settings.model_copy(update={"database_url": f"sqlite:///{backup}"})
    with pytest.raises(SetBack) as refused:
        open_database(older, utc_now)
    accepted = str(refused.value).partition("--accept-older-database ")[2][:12]
    database = open_database(older.model_copy(update={"accept_older_database": accepted}), utc_now)
    _sweep(Edited(database, settings.data_dir))
    assert len(_aside(edited)) == 1
    database.close()

    newer = settings.model_copy(update={"database_url": f"sqlite:///{newest}"})
    with pytest.raises(SetBack) as refused:
        open_database(newer, utc_now)
    accepted = str(refused.value).partition("--accept-older-database ")[2][:12]
    database = open_database(newer.model_copy(update={"accept_older_database": accepted}), utc_now)
    fresh = Edited(database, settings.data_dir)  # it reads every factor of the head
    _sweep(fresh)
    assert fresh.artefacts.digests() == artefacts
    assert fresh.digest(2) == fresh.recorded_digest(2)
    database.close()


def test_what_a_crash_leaves_after_a_sweep_goes_in_the_next(edited: Edited) -> None:
    _sweep(edited)
    edited.edit()
    kept = edited.artefacts.digests()
    edited.artefacts.put(ORPHAN)
    _sweep(edited.restarted())
    assert edited.artefacts.digests() == kept


def test_other_files_in_the_folder_are_left_alone(edited: Edited) -> None:
    note = edited.folder / "artefacts" / "README"
    note.write_text("somebody's own")
    _sweep(edited)
    assert note.exists()
