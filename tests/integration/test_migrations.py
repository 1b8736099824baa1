import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError

from app.database.database import Database
from app.database.migration import downgrade, drift, upgrade
from app.ledger import service as ledger
from tests.integration.history import History


def test_the_migrated_schema_is_the_one_the_models_describe(database: Database) -> None:
    assert drift(database) == []


def test_upgrading_twice_changes_nothing(history: History) -> None:
    history.edit("a")
    upgrade(history.database)
    assert history.head() == 1


def test_migrations_run_up_down_and_up_again_with_data(history: History) -> None:
    history.edit("a", "b")
    downgrade(history.database, "base")
    with history.database.read() as session:
        assert inspect(session.connection()).get_table_names() == ["alembic_version"]
    upgrade(history.database)
    again = History(history.database)
    assert again.edit("c").number == 1
    assert drift(history.database) == []
    with history.database.read() as session:
        assert ledger.check(session).ok


def test_an_erasure_survives_going_back_and_forth(history: History) -> None:
    history.edit("a")
    history.erase("a")
    downgrade(history.database, "0001")
    with history.database.read() as session:
        columns = {column["name"] for column in inspect(session.connection()).get_columns("edits")}
        assert "erased_at" not in columns
        assert ledger.check(session).entries == 4
    with history.database.write() as session:
        session.execute(text("UPDATE revisions SET live_edits = live_edits"))  # as it was before
    upgrade(history.database)
    assert drift(history.database) == []
    with history.database.read() as session:
        assert ledger.check(session).ok
    for table in ("ledger_entries", "revisions"):
        with (
            pytest.raises(DatabaseError, match="never changed or removed"),
            history.database.write() as session,
        ):
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    assert history.edit("b").number == 2
