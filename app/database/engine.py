"""Engines whose transactions can neither lose an update nor deadlock on an upgrade.

SQLite's driver default loses updates silently, and a deferred `BEGIN` cannot upgrade from a read
snapshot. So every write transaction takes the write lock first (`BEGIN IMMEDIATE`, or an advisory
lock on PostgreSQL) and writers are one after another on both engines.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pysqlite3
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from app.errors import DatabaseAway
from app.kit.permissions import close_to_others, make_private

# SQLite 3.7.0 to 3.51.2 can lose committed writes in WAL mode when two connections reset the log.
SAFE_WAL = (3, 51, 3)
LOCK_TIMEOUT_S = 5.0
_IDLE_TIMEOUT_S = 15.0
# For libpq: a server that went silent is not waited for until TCP gives up, minutes later.
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 5_000}
# Behind a pooler each transaction may meet another session of the server: no statement is prepared
# in one, and nothing is set in one that outlasts its transaction.
_POOLED = {"prepare_threshold": None}
_FILE = "file"
# An arbitrary number that is Errata's alone among the advisory locks of its database.
WRITE_LOCK = 0x0E44A7A


def open_engines(url: str) -> tuple[Engine, Engine]:
    """The engine for write transactions and the one for reading, for one database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, begin="BEGIN IMMEDIATE"), _sqlite(parsed, begin="BEGIN")
    return _postgresql_writer(parsed), _postgresql_reader(parsed)


def open_reader(url: URL, connections: int) -> Engine:
    """Another engine for reading: a few connections, all of them its own, that wait for seconds."""
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": LOCK_TIMEOUT_S}
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, begin="BEGIN", **pool)
    engine = _postgresql_reader(url, connect_args=_PATIENCE | _POOLED, **pool)

    @event.listens_for(engine, "begin")
    def bound_waits(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LOCK_TIMEOUT_S:g}s'")

    return engine


def _sqlite(url: URL, *, begin: str, **pool: float) -> Engine:
    if url.database:
        make_private(Path(url.database).parent)
        for suffix in ("", "-wal", "-shm"):
            close_to_others(Path(url.database + suffix))
    engine = create_engine(url, module=pysqlite3, connect_args={"timeout": LOCK_TIMEOUT_S}, **pool)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        for pragma in _pragmas():
            connection.execute(pragma).close()
        entry.info[_FILE] = Path(url.database or "").stat()

    @event.listens_for(engine, "checkout")
    def require_same_file(_: Any, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
        # What is written to a file that has lost its name is gone with the last process.
        if not _is_same(entry.info[_FILE], Path(url.database or "")):
            raise DisconnectionError("the database's file was exchanged")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _is_same(opened: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(opened, path.stat())
    except FileNotFoundError as error:
        # Connecting again would make a new, empty one.
        raise DatabaseAway("the database's file is gone; put it back", cause=str(path)) from error


def _pragmas() -> list[str]:
    journal = "WAL" if pysqlite3.sqlite_version_info >= SAFE_WAL else "DELETE"
    return [
        f"PRAGMA journal_mode = {journal}",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA secure_delete = ON",  # erased words must not stay in free pages
        "PRAGMA temp_store = MEMORY",  # nor in files that sorting leaves behind
    ]


def _postgresql_writer(url: URL) -> Engine:
    engine = create_engine(
        url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=_POOLED
    )

    @event.listens_for(engine, "begin")
    def lock(connection: Connection) -> None:
        # A process that was frozen in a transaction must not keep the others out for ever.
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S:g}s';"
            f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_S:g}s';"
            f"SELECT pg_advisory_xact_lock({WRITE_LOCK})",
            execution_options={"no_parameters": True},  # with parameters it would be one statement
        )

    return engine


def _postgresql_reader(
    url: URL, *, connect_args: Mapping[str, Any] = _POOLED, **pool: float
) -> Engine:
    engine = create_engine(
        url,
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        connect_args=dict(connect_args),
        **pool,
    )

    @event.listens_for(engine, "connect")
    def read_only(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.read_only = True

    return engine
