"""The mark of the newest ledger entry: kept outside of the database, and held against it."""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.database.copying import copy_sqlite
from app.database.database import Database
from app.database.tables.ledger import EntryKind
from app.errors import DatabaseUnavailable, SetBack, UnusableMark
from app.keys.bootstrap import create_key
from app.kit.clock import utc_now
from app.ledger import repository, service
from app.ledger.checkpoint import Checkpoint
from app.ledger.mark import Mark, Marks
from app.ledger.opening import open_database
from app.ledger.signing import SigningKey
from app.settings import Settings
from tests.support.chain import check_chain
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.tampering import tampering

ORIGIN = "0f" * 32


@contextmanager
def opened(settings: Settings) -> Iterator[History]:
    """The database as a process of the service has it."""
    database = open_database(settings, utc_now)
    try:
        yield History(database)
    finally:
        database.close()


def newest(database: Database) -> tuple[int, str]:
    with database.read() as session:
        found = repository.ends(session)
    assert found is not None
    return found[1].index + 1, found[1].hash


def mark_of(settings: Settings) -> tuple[int, str]:
    found = Marks(settings.data_dir).newest()
    assert found is not None
    return found.size, found.hash


def cut_back(database: Database, size: int) -> None:
    """The database as it was when its ledger had `size` entries, as far as this test looks."""
    with tampering(database) as execute:
        if database.engine.dialect.name == "sqlite":
            execute("PRAGMA foreign_keys = OFF")
        for table in ("edit_texts", "events", "revision_changes", "edits"):
            execute(f"DELETE FROM {table}")  # noqa: S608
        execute("DELETE FROM operations")
        execute("DELETE FROM revisions WHERE number > 0")
        execute('DELETE FROM ledger_entries WHERE "index" >= :size', size=size)


def a_mark(size: int) -> Mark:
    return Mark(size, f"{size:064x}", ORIGIN)


def test_every_commit_to_the_ledger_moves_the_mark_to_its_end(settings: Settings) -> None:
    with opened(settings) as history:
        for step in (
            lambda: history.accept("a"),
            lambda: history.edit("b"),
            lambda: history.erase("b"),
            lambda: create_key(settings, NewApiKey([Scope.QUERY])),
        ):
            before = mark_of(settings)
            step()
            assert mark_of(settings) == newest(history.database) != before


def test_a_transaction_that_is_dropped_or_tells_the_ledger_nothing_leaves_the_mark(
    settings: Settings,
) -> None:
    with opened(settings) as history:
        history.accept("a")
        before = mark_of(settings)
        history.claim()
        with pytest.raises(InterruptedError):
            _append_and_drop(history.database)
        assert mark_of(settings) == before == newest(history.database)


def _append_and_drop(database: Database) -> None:
    with database.write() as session:
        service.append(session, EntryKind.VERDICT, {}, actor="worker", now=utc_now())
        raise InterruptedError


def test_a_database_that_lacks_the_marked_entry_is_refused_at_the_start_and_left_alone(
    settings: Settings,
) -> None:
    with opened(settings) as history:
        kept = newest(history.database)
        history.edit("a")
        lost = newest(history.database)
        cut_back(history.database, kept[0])
    for _ in range(2):
        with pytest.raises(SetBack) as refused:
            open_database(settings, utc_now)
        told = refused.value.message
        assert f"entry {lost[0] - 1} ({lost[1][:12]}…) was committed here" in told
        assert f"ends at entry {kept[0] - 1} ({kept[1][:12]}…)" in told
        assert f"--accept-older-database {kept[1][:12]}:" in told
        assert mark_of(settings) == lost
    with pytest.raises(SetBack):
        create_key(settings, NewApiKey([Scope.ADMIN]))


def test_a_database_that_took_another_way_or_is_another_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    with opened(settings) as history:
        history.edit("a")
        cut_back(history.database, 1)
    unguarded = Database(settings.database_url)
    History(unguarded).edit("b", "c")
    unguarded.close()
    with pytest.raises(SetBack, match="took another way to entry"):
        open_database(settings, utc_now)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    elsewhere = settings.model_copy(update={"database_url": other})
    with pytest.raises(SetBack, match="has no ledger entry at all"):
        open_database(elsewhere, utc_now)
    create_key(
        elsewhere.model_copy(update={"data_dir": tmp_path / "own"}), NewApiKey([Scope.QUERY])
    )
    with pytest.raises(SetBack, match="is that of another ledger"):
        open_database(elsewhere, utc_now)


def test_an_older_database_that_is_accepted_says_so_in_its_ledger_and_goes_on(
    settings: Settings,
) -> None:
    with opened(settings) as history:
        kept = newest(history.database)
        history.edit("a")
        lost = newest(history.database)
        cut_back(history.database, kept[0])
    wrong = settings.model_copy(update={"accept_older_database": "0" * 12})
    with pytest.raises(SetBack):
        open_database(wrong, utc_now)
    accepting = settings.model_copy(update={"accept_older_database": kept[1][:12]})
    with opened(accepting) as history, history.database.read() as session:
        (entry,) = repository.of_kind(session, EntryKind.SETBACK)
        assert f'"lost":{{"hash":"{lost[1]}"' in entry.payload
        assert f'"kept":{{"hash":"{kept[1]}"' in entry.payload
        assert entry.actor == "cli"
        assert check_chain(session).ok
    assert mark_of(settings) == (kept[0] + 1, entry.hash)
    (aside,) = settings.data_dir.glob("ledger-mark.*")
    assert aside.name == f"ledger-mark.{lost[0]}-{lost[1][:12]}"
    # Left in the environment, the acceptance is for that one state and accepts no other.
    with opened(accepting) as history:
        history.edit("b")
        cut_back(history.database, kept[0] + 1)
    with pytest.raises(SetBack):
        open_database(accepting, utc_now)


def test_an_acceptance_that_a_kill_cut_off_is_finished_at_the_next_start(
    settings: Settings,
) -> None:
    with opened(settings) as history:
        history.edit("a")
        lost = Marks(settings.data_dir).newest()
        cut_back(history.database, 1)
        kept = newest(history.database)
    assert lost is not None
    accepting = settings.model_copy(update={"accept_older_database": kept[1]})
    with opened(accepting):
        pass
    Marks(settings.data_dir).begin_anew(lost)  # as if it had not come so far
    with opened(settings) as history:
        assert mark_of(settings) == newest(history.database)
        with history.database.read() as session:
            assert len(repository.of_kind(session, EntryKind.SETBACK)) == 1


def test_nothing_is_written_or_signed_where_the_database_is_set_back_under_a_running_service(
    settings: Settings,
) -> None:
    with opened(settings) as history:
        history.edit("a")
        cut_back(history.database, 1)
        with pytest.raises(SetBack, match="set back or exchanged under a running service"):
            history.accept("b")
        assert newest(history.database)[0] == 1
        with pytest.raises(SetBack):
            service.checkpoint(
                history.database,
                Marks(settings.data_dir),
                SigningKey.of(settings.data_dir),
                utc_now(),
            )


def test_a_signed_checkpoint_is_never_beyond_the_mark(settings: Settings) -> None:
    unguarded = Database(settings.database_url)
    with opened(settings) as history:
        del history
        other = History(unguarded)  # a replica with a data directory of its own
        other.edit("a")
        marks = Marks(settings.data_dir)
        signed = service.checkpoint(unguarded, marks, SigningKey.of(settings.data_dir), utc_now())
        assert mark_of(settings) == (signed.size, signed.hash) == newest(unguarded)
        with opened(settings) as again:
            again.accept("b")
    unguarded.close()


def test_processes_with_data_directories_of_their_own_each_have_a_mark(
    settings: Settings, tmp_path: Path
) -> None:
    replica = settings.model_copy(update={"data_dir": tmp_path / "replica"})
    with opened(settings) as one, opened(replica) as other:
        one.edit("a")
        other.accept("b")  # it follows what the other wrote
        one.accept("c")
        assert mark_of(replica)[0] < mark_of(settings)[0]
    with opened(replica) as again:
        assert mark_of(replica) == newest(again.database)


@only_sqlite
def test_every_durable_mark_is_a_checkpoint_in_the_log_and_in_the_file(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "elsewhere.jsonl"
    caplog.set_level("INFO", logger="app")
    with opened(settings.model_copy(update={"checkpoint_file": file})) as history:
        history.edit("a")
        end = newest(history.database)
        history.accept("b")  # its mark may be lost with the power; so it is not told
    told = [Checkpoint.from_text(line) for line in file.read_text().splitlines()]
    assert (told[-1].size, told[-1].hash) == end
    assert all(checkpoint.is_signed for checkpoint in told)
    logged = [record.getMessage() for record in caplog.records if "checkpoint " in record.msg]
    assert len(logged) == len(told)
    assert all(f"signature={one.signature}" in line for one, line in zip(told, logged, strict=True))


@only_sqlite
def test_a_file_that_cannot_be_written_keeps_nobody_from_committing(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(settings.model_copy(update={"checkpoint_file": tmp_path})) as history:
        history.edit("a")
        assert mark_of(settings) == newest(history.database)
    assert "checkpoint_not_told" in caplog.text


def test_a_mark_never_moves_backwards(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    assert marks.newest() is None
    for size in (3, 7, 5, 7, 1):
        marks.move(a_mark(size), durably=size == 7)
    assert marks.newest() == a_mark(7)


@pytest.mark.parametrize("torn", range(0, 140, 13))
def test_a_line_that_a_power_cut_tore_counts_for_nothing(tmp_path: Path, torn: int) -> None:
    marks = Marks(tmp_path)
    for size in (98, 99, 100):
        marks.move(a_mark(size), durably=False)
    whole = marks.path.read_bytes()
    marks.path.write_bytes(whole[: len(whole) - 1 - torn])
    assert marks.newest() == a_mark(100 if torn == 0 else 99)
    marks.move(a_mark(101), durably=False)
    assert marks.newest() == a_mark(101)


def test_a_file_that_holds_no_mark_is_not_taken_for_a_new_directory(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    marks.path.write_bytes(bytes(9000))
    with pytest.raises(UnusableMark, match="restore it, or remove it"):
        marks.newest()


def _move(folder: Path, first: int, step: int) -> None:
    marks = Marks(folder)
    for size in range(first, 4000, step):
        marks.move(a_mark(size), durably=False)
        if size % 97 == 0:
            marks.shorten()


def test_processes_that_move_one_mark_and_shorten_its_file_never_lose_the_furthest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ledger.mark._LONG_BYTES", 2_000)
    fork = multiprocessing.get_context("fork")
    others = [fork.Process(target=_move, args=(tmp_path, first, 3)) for first in (1, 2, 3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    marks = Marks(tmp_path)
    assert marks.newest() == a_mark(3999)
    assert marks.path.stat().st_size < 600_000


@only_sqlite
def test_a_file_that_is_exchanged_or_removed_under_a_running_service_is_noticed(
    settings: Settings, tmp_path: Path
) -> None:
    file, older = tmp_path / "errata.db", tmp_path / "older.db"
    with opened(settings) as history:
        history.accept("a")
        copy_sqlite(file, older)
        history.edit("b")
        history.database.purge(None)  # all of it is in the one file
        kept = file.rename(tmp_path / "kept.db")
        with pytest.raises(DatabaseUnavailable, match="is gone; put it back"):
            history.accept("c")
        assert not file.exists()
        for half in tmp_path.glob("errata.db-*"):
            half.unlink()
        older.rename(file)
        # SQLite itself may notice first, where connections to the former file are still open.
        with pytest.raises((SetBack, DatabaseUnavailable)):
            history.accept("c")
    with pytest.raises(SetBack, match="ends at entry 1 "):
        open_database(settings, utc_now)
    kept.rename(file)
    with opened(settings) as history:
        history.accept("c")


@only_sqlite
@pytest.mark.parametrize("command", [["serve"], ["worker"], ["keys", "list"]])
def test_a_command_on_an_older_database_ends_with_what_to_do(
    settings: Settings, command: list[str]
) -> None:
    with opened(settings) as history:
        history.edit("a")
        cut_back(history.database, 1)
        kept = newest(history.database)
    places = ["--data-dir", str(settings.data_dir), "--database-url", settings.database_url]
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", *command, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("errata: the database ends at entry 0 (")
    assert f"--accept-older-database {kept[1][:12]}:" in told
    assert "Traceback" not in ended.stderr
