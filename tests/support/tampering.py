"""The database as somebody changes it who owns the disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import text

from app.database.database import Database

Execute = Callable[..., None]


@contextmanager
def tampering(database: Database) -> Iterator[Execute]:
    """A connection as somebody would have it who owns the disk: nothing is refused any more."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
            connection.exec_driver_sql(
                "ALTER TABLE ledger_entries DROP CONSTRAINT IF EXISTS ck_ledger_entries_kind"
            )
        else:
            raw = connection.connection.driver_connection
            assert raw is not None
            for pragma in ("foreign_keys = OFF", "ignore_check_constraints = ON"):
                raw.execute(f"PRAGMA {pragma}")
            for table in ("ledger_entries", "revisions", "revision_changes", "withdrawals"):
                for write in ("update", "delete"):
                    raw.execute(f"DROP TRIGGER IF EXISTS {table}_refuse_{write}")

        def execute(statement: str, **values: object) -> None:
            connection.execute(text(statement), values)

        yield execute
        connection.commit()
        connection.invalidate()
