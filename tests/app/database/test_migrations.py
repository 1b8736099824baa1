import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from app.database.database import Database
from app.database.migration import downgrade, drift, upgrade
from tests.support.chain import check_chain
from tests.support.history import History


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
        assert check_chain(session).ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE operations SET status = 'nonsense'",
        "UPDATE edits SET status = 'nonsense'",
        "INSERT INTO ledger_entries VALUES (7, 'forged', '{}', 'x', 'now', 'x', 'x')",
    ],
)
def test_a_name_that_no_column_knows_is_refused_by_the_database(
    history: History, statement: str
) -> None:
    history.accept("a")
    with pytest.raises(IntegrityError), history.database.write() as session:
        session.execute(text(statement))
