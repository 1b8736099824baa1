"""What a process does for one more commit does not grow with what was committed before."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from app.database.database import Database
from app.database.migration import upgrade
from app.errors import CorruptArtefact
from app.operations import snapshots
from app.operations.live import difference, live_edits
from tests.support.edited import Edited

_BATCH = 16
_SHORT = 6  # revisions of so many edits each
_EVERY = 5  # instructions between two calls of SQLite's progress handler


class Work:
    """Counts what SQLite executes, in units of a few instructions of its virtual machine."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> int:
        self.done += 1
        return 0  # go on


@contextmanager
def counted(database: Database) -> Iterator[Work]:
    """The work of all that is read inside ``with``."""
    work, engine = Work(), database._readers[0].engine

    def watch(raw: object, *_: object) -> None:
        raw.set_progress_handler(work, _EVERY)  # type: ignore[attr-defined]

    engine.dispose()
    event.listen(engine, "connect", watch)
    yield work
    event.remove(engine, "connect", watch)
    engine.dispose()


def _grown(database: Database, folder: Path, revisions: int, every: int = 0) -> Edited:
    edited = Edited(database, folder, every=every)
    for _ in range(revisions):
        edited.edit(_BATCH)
    return edited


def _fresh(folder: Path) -> Database:
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'errata.db'}")
    upgrade(database)
    return database


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Edited]]:
    """A short history, and one that is four times as long."""
    folders = [tmp_path_factory.mktemp("grown") / name for name in ("short", "long")]
    databases = [_fresh(folder) for folder in folders]
    lengths = (_SHORT, 4 * _SHORT)
    yield [
        _grown(database, folder, length, every=4)
        for database, folder, length in zip(databases, folders, lengths, strict=True)
    ]
    for database in databases:
        database.close()


def _require_flat(sizes: list[Edited], measured: Callable[[Edited], Work]) -> None:
    short, long = (measured(edited).done for edited in sizes)
    assert 0 < long <= 1.5 * short


def test_a_follower_reads_only_what_was_committed(sizes: list[Edited]) -> None:
    def follow(edited: Edited) -> Work:
        follower = edited.restarted()
        for digest in edited.artefacts.digests():
            edited.artefacts.remove(digest)
        edited.edit(_BATCH)
        with counted(edited.database) as work:
            follower.lineage.recover()
        assert follower.lineage.head_state.revision == edited.head
        assert list(follower.lineage.head_state.live) == list(edited.lineage.head_state.live)
        return work

    _require_flat(sizes, follow)


def test_a_writer_does_not_read_what_it_has_committed(sizes: list[Edited]) -> None:
    for edited in sizes:
        with counted(edited.database) as work:
            edited.edit()
        assert work.done == 0


def test_keys_that_were_just_stored_are_not_read_back(database: Database, tmp_path: Path) -> None:
    edited = _grown(database, tmp_path / "data", 2)
    lineage = edited.lineage
    for commit in (edited.edit_densely, edited.edit, edited.edit):
        lineage.past_keys([])  # holds those before
        artefact = edited.artefact_of(commit())
        expected = edited.restarted().lineage.past_keys([])
        stored = edited.artefacts.read(artefact)
        edited.artefacts.remove(artefact)
        found = lineage.past_keys([])
        edited.artefacts.put(stored)
        assert found.keys() == expected.keys()
        for layer, keys in expected.items():
            assert len(keys) == len(lineage.head_state.live)
            assert found[layer].equal(keys)


def test_a_revision_near_the_head_costs_what_lies_between(sizes: list[Edited]) -> None:
    def rebuild(edited: Edited) -> Work:
        edited.edit(_BATCH)
        with counted(edited.database) as work:
            assert edited.digest(edited.head - 1) == edited.recorded_digest(edited.head - 1)
        return work

    _require_flat(sizes, rebuild)


def test_how_far_a_snapshot_is_costs_what_lies_between(sizes: list[Edited]) -> None:
    def measure(edited: Edited) -> Work:
        edited.edit(_BATCH)
        edited.edit(_BATCH)
        with counted(edited.database) as work, edited.database.read() as session:
            found = snapshots.distances(session, edited.head, [edited.head - 2])
        assert found == {edited.head - 2: 2 * _BATCH}
        return work

    _require_flat(sizes, measure)


def test_a_start_beside_a_snapshot_reads_no_factors(database: Database, tmp_path: Path) -> None:
    edited = _grown(database, tmp_path / "data", 3, every=3)
    for digest in edited.artefacts.digests():
        edited.artefacts.remove(digest)
    started = edited.restarted()
    assert len(started.lineage.head_state.live) == 3 * _BATCH
    with pytest.raises(CorruptArtefact, match="missing"):
        started.lineage.past_keys([])


def test_keys_come_in_the_order_of_edits_and_only_the_newest_are_compared(
    database: Database, tmp_path: Path
) -> None:
    edited = _grown(database, tmp_path / "data", 3)
    lineage, ids = edited.restarted().lineage, list(edited.lineage.head_state.live)
    every, gone = lineage.past_keys([]), ids[-2]
    for layer, keys in lineage.past_keys([gone]).items():
        assert len(every[layer]) == 3 * _BATCH
        rows = [row for row, id in enumerate(ids) if id != gone]
        assert keys.equal(every[layer][rows])
        assert lineage.recent_keys([gone], most=5)[layer].equal(keys[-5:])


def test_differences_are_those_of_the_live_edits_both_ways(
    database: Database, tmp_path: Path
) -> None:
    edited = Edited(database, tmp_path / "data")
    for step in (3, 1, 2):
        edited.edit(step)
    edited.roll_back(1)
    edited.edit(2)
    edited.roll_back(3)
    with database.read() as session:
        live = {number: live_edits(session, number) for number in range(edited.head + 1)}
        for first, before in live.items():
            for last, after in live.items():
                found = difference(session, first, last)
                assert found.lost == [edit for edit in before if edit not in after]
                assert found.gained == [edit for edit in after if edit not in before]
                reached = found.applied({edit.edit_id: edit for edit in before})
                assert list(reached.values()) == after
            apart = {last: len({*before} ^ {*after}) for last, after in live.items()}
            assert snapshots.distances(session, first, live) == apart


def test_a_follower_of_a_database_that_was_exchanged_begins_anew(tmp_path: Path) -> None:
    database, backup = _fresh(tmp_path / "data"), tmp_path / "backup"
    _grown(database, tmp_path / "data", 2)
    database.close()
    shutil.copytree(tmp_path / "data", backup)
    edited = Edited(database, tmp_path / "data")
    edited.edit()
    edited.edit()
    follower = edited.restarted()
    database.close()
    for path in (tmp_path / "data").glob("errata.db*"):
        path.unlink()
    for path in backup.glob("errata.db*"):
        shutil.copy(path, tmp_path / "data")
    other = edited.restarted()
    other.edit(2)
    other.edit(3)
    other.edit()
    follower.lineage.recover()
    assert follower.lineage.head_state.live == other.lineage.head_state.live
    assert follower.digest(3) == other.recorded_digest(3)
    database.close()
