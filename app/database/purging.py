"""Having what was deleted leave the files of the database, not only its tables."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Timer
from typing import Any

import pysqlite3
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

_DRAIN_MS = 100  # how long one attempt keeps others from writing while it waits for readers
#: where words of people are, or were until they were erased
_TABLES = ("edit_texts", "edits", "operations", "idempotency_keys", "queue_state")


def mark(session: Session) -> str | None:
    """What names this write transaction to `purge`; SQLite needs no name."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    return str(session.scalar(text("SELECT CAST(pg_current_xact_id() AS text)")))


def purge_sqlite(engine: Engine) -> bool:
    """Move SQLite's log into the database file and empty it; whether no reader was in the way.

    Free space in the file is overwritten with zeros when it becomes free (`secure_delete`), so
    older pages are left in the log alone.
    """
    # Outside of any transaction: the log is emptied, not written.
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        (patience_ms,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {_DRAIN_MS}")
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except pysqlite3.OperationalError as error:
            raise OperationalError("PRAGMA wal_checkpoint", None, error) from error
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {patience_ms}")
            cursor.close()
    return not busy


def purge_postgresql(engine: Engine, deleted_by: str, within_s: float | None) -> bool:
    """Vacuum what the transaction named `deleted_by` deleted; whether no snapshot was in the way.

    After `VACUUM (FREEZE)` a table has no transaction older than its `relfrozenxid`, not even as
    the one that deleted a row. So a deletion that lies before it has been carried out.
    """
    tables = ", ".join(_TABLES)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            with _cancelled_after(connection, within_s):
                connection.execute(text(f"VACUUM (FREEZE) {tables}"))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _CANCELLED:
                raise
            return False
        query = text(_OLDER)
        older = connection.scalar(query, {"mark": deleted_by, "tables": list(_TABLES)})
    return bool(older == 0)


@contextmanager
def _cancelled_after(connection: Connection, limit_s: float | None) -> Iterator[None]:
    """Have the server cancel what this connection runs for too long; None for no limit.

    VACUUM runs in no transaction, and a setting of the session could be another client's behind a
    pooler.
    """
    if limit_s is None:
        yield
        return
    driver: Any = connection.connection.driver_connection
    timer = Timer(limit_s, driver.cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


_CANCELLED = "57014"
_OLDER = """
SELECT count(*) FROM pg_class AS part
WHERE part.oid IN (
    SELECT unnest(ARRAY[oid, reltoastrelid]) FROM pg_class
    WHERE oid IN (SELECT CAST(name AS regclass) FROM unnest(CAST(:tables AS text[])) AS name)
)
AND age(part.relfrozenxid) >= age(CAST(CAST(:mark AS xid8) AS xid))
"""
