"""What a driver's error says of the database: it is away, or there and overloaded.

The difference decides who is let in (`app.access.doorkeeper`), so only what load cannot cause
counts as away. A process without a free descriptor, a full pool and a server with too many clients
look alike to a driver; so the place where the database should be is asked as well.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import DatabaseAway, DatabaseOverloaded, DatabaseUnavailable

_OUTAGES = (OperationalError, InterfaceError)
# libpq tells of a refused connection in the words of the C library, which no server translates.
_REFUSED = ("Connection refused", "No such file or directory")
# admin_shutdown and crash_shutdown: a server that ends says so to those it serves.
_SHUT_DOWN = frozenset({"57P01", "57P02"})
# insufficient_resources; lock_not_available, query_canceled
_OVERLOADS, _OVERLOAD_CLASS = frozenset({"55P03", "57014"}), "53"
# duplicate_prepared_statement, invalid_sql_statement_name: a pooler has changed the session
_MIXED_UP = frozenset({"42P05", "26000"})
# SQLITE_BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN
_SQLITE_OVERLOADS = frozenset({5, 6, 7, 10, 13, 14})
_PRIMARY_CODE = 0xFF  # of SQLite's extended codes


@contextmanager
def outages_named(url: URL) -> Iterator[None]:
    """Turn errors of a database that does not answer into ours.

    Raises:
        DatabaseAway: It is not there.
        DatabaseOverloaded: It is there, and takes no more now.
        DatabaseUnavailable: It did not answer, and why is not known.
    """
    try:
        yield
    except PoolTimeout as error:
        raise _told(DatabaseOverloaded, str(error)) from error
    except DBAPIError as error:
        # The server also ends connections with errors that are no outage by their class.
        is_outage = isinstance(error, _OUTAGES) or _is_mixed_up(error)
        if not (is_outage or error.connection_invalidated):
            raise
        kind = _sqlite_kind if url.get_backend_name() == "sqlite" else _postgresql_kind
        raise _told(kind(url, error), str(error.orig)) from error


def _sqlite_kind(url: URL, error: DBAPIError) -> type[DatabaseUnavailable]:
    # Asking for the file's state needs no descriptor, so it is answered when none is free.
    if url.database and not Path(url.database).is_file():
        return DatabaseAway
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return DatabaseOverloaded if code in _SQLITE_OVERLOADS else DatabaseUnavailable


def _postgresql_kind(url: URL, error: DBAPIError) -> type[DatabaseUnavailable]:
    code = getattr(error.orig, "sqlstate", None)
    if code in _SHUT_DOWN or _is_refused(url, str(error.orig)):
        return DatabaseAway
    if code is None:  # of a connection that could not be made: the server's words are its own
        return DatabaseAway if error.connection_invalidated else DatabaseOverloaded
    if code in _OVERLOADS or code.startswith(_OVERLOAD_CLASS):
        return DatabaseOverloaded
    return DatabaseUnavailable


def _is_mixed_up(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _MIXED_UP


def _is_refused(url: URL, reason: str) -> bool:
    """Whether no server listens: one address may refuse while another is overloaded."""
    if not any(words in reason for words in _REFUSED):
        return False
    from psycopg import pq

    ping: Callable[[bytes], Any] = pq.PGconn.ping
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        socket.socket().close()  # without a free descriptor a ping fails, too
        return bool(ping(address.encode()) == pq.Ping.NO_RESPONSE)
    except OSError:
        return False


def _told(kind: type[DatabaseUnavailable], reason: str) -> DatabaseUnavailable:
    return kind("the database did not take this request; try again later", cause=reason.strip())
