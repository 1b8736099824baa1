import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.migration import upgrade
from app.errors import DatabaseUnavailable
from app.operations.repository import next_seq
from tests.support.history import History
from tests.support.postgres import new_schema
from tests.support.waiting import wait_until


def _journal(session: Session) -> tuple[str, int, int]:
    read = [f"PRAGMA {name}" for name in ("journal_mode", "synchronous", "foreign_keys")]
    mode, synchronous, foreign_keys = (session.execute(text(line)).scalar_one() for line in read)
    return mode, synchronous, foreign_keys


def test_sqlite_is_opened_durably(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'errata.db'}")
    for transaction in (database.write, database.read):
        with transaction() as session:
            assert _journal(session) == ("wal", 2, 1)
    database.close()


def test_four_threads_accept_without_a_loss_or_a_gap(history: History) -> None:
    def accept(thread: int) -> None:
        for number in range(15):
            history.accept(f"edit-{thread}-{number}")

    threads = [threading.Thread(target=accept, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with history.database.read() as session:
        query = "SELECT seq FROM operations ORDER BY seq"
        assert session.scalars(text(query)).all() == list(range(1, 61))
        query = 'SELECT "index" FROM ledger_entries ORDER BY "index"'
        assert session.scalars(text(query)).all() == list(range(61))
        assert next_seq(session) == 61


def test_an_exception_undoes_the_whole_transaction(history: History) -> None:
    def fail_after_writing() -> None:
        with history.database.write() as session:
            session.execute(text("UPDATE operations SET attempts = 7"))
            raise InterruptedError

    history.accept("a")
    with pytest.raises(InterruptedError):
        fail_after_writing()
    with history.database.read() as session:
        assert session.scalar(text("SELECT attempts FROM operations")) == 0


def test_a_reader_sees_one_snapshot_while_writers_commit(history: History) -> None:
    count = text("SELECT count(*) FROM operations")
    with history.database.read() as session:
        assert session.scalar(count) == 0
        history.accept("meanwhile")
        assert session.scalar(count) == 0
    with history.database.read() as session:
        assert session.scalar(count) == 1


def test_a_full_disk_is_an_outage_and_loses_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'errata.db'}")
    upgrade(database)
    history = History(database)
    with database.write() as session:
        pages = session.scalar(text("PRAGMA page_count"))
        session.execute(text(f"PRAGMA max_page_count = {pages}"))

    def accept_many() -> None:
        for number in range(1_000):
            history.accept(f"edit-{number}", subject="x" * 400)

    with pytest.raises(DatabaseUnavailable, match="full"):
        accept_many()
    with database.write() as session:
        session.execute(text("PRAGMA max_page_count = 1000000"))
        seqs = session.scalars(text("SELECT seq FROM operations ORDER BY seq")).all()
    assert seqs == list(range(1, len(seqs) + 1))
    history.accept("after")
    database.close()


def test_a_database_that_is_gone_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://postgres@/nothing?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="try again later"):
        database.ping()
    database.close()


def test_a_writer_that_never_ends_is_an_outage_for_the_others(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.database.LOCK_TIMEOUT_S", 0.05)
    with history.database.write(), pytest.raises(DatabaseUnavailable, match="stayed locked"):
        history.accept("waiting")
    history.accept("afterwards")


@pytest.mark.postgres
def test_a_process_frozen_in_a_transaction_does_not_keep_the_others_out(
    postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.engine.LOCK_TIMEOUT_S", 0.5)
    monkeypatch.setattr("app.database.engine._IDLE_TIMEOUT_S", 2.0)
    url = new_schema(postgres_server)
    frozen, other = Database(url), Database(url)

    def go_on() -> None:
        with frozen.write() as session:
            session.connection()  # begins the transaction
            with pytest.raises(DatabaseUnavailable, match="lock timeout"):
                _write(other)
            wait_until(partial(_can_write, other), 30.0)
            session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable, match="idle-in-transaction"):
        go_on()
    _write(frozen)
    frozen.close()
    other.close()


def _write(database: Database) -> None:
    with database.write() as session:
        session.connection()


def _can_write(database: Database) -> bool:
    with suppress(DatabaseUnavailable):
        _write(database)
        return True
    return False
