"""The one place that begins, commits and rolls back."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Lock

from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.database.engine import LOCK_TIMEOUT_S, open_engines
from app.errors import DatabaseUnavailable

_OUTAGES = (OperationalError, InterfaceError)


class _WritingSession(Session):
    """Holds what it has read: others forget what nobody holds, read it again, and write before."""


@event.listens_for(_WritingSession, "loaded_as_persistent")
def _hold(session: Session, found: object) -> None:
    session.info.setdefault("held", []).append(found)


class Database:
    """Sessions on one database; objects stay readable after their session has ended."""

    def __init__(self, url: str) -> None:
        self._writing, self._reading = open_engines(url)
        # SQLite makes whoever finds it locked sleep and try again; our own threads queue instead.
        self._turn = Lock()
        self._told: tuple[Callable[[], object], ...] = ()

    @property
    def engine(self) -> Engine:
        """The engine of the write transactions, for migrations."""
        return self._writing

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction, alone on the database; commits at the end, or not at all.

        Keep it short: compute first, then write.

        Raises:
            DatabaseUnavailable: The database cannot be reached, is full, or stayed locked.
        """
        with (
            self._my_turn(),
            _outages_named(),
            _WritingSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
        for call in self._told:
            call()

    @contextmanager
    def telling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call this after each commit made through this object, in the thread that made it."""
        self._told += (call,)
        try:
            yield
        finally:
            self._told = tuple(told for told in self._told if told is not call)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=LOCK_TIMEOUT_S):
            raise DatabaseUnavailable(
                f"the database stayed locked for {LOCK_TIMEOUT_S} s; try again later"
            )
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent snapshot to read from; what is changed in it is dropped.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        with _outages_named(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: It gives none.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def forget(self) -> None:
        """Have what was just deleted leave SQLite's log, as far as no reader still needs it.

        PostgreSQL gives deleted rows back when it vacuums.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        if self._writing.dialect.name == "sqlite":
            # Outside of any transaction: the log is emptied, not written.
            with _outages_named(), closing(self._writing.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Give back every connection."""
        self._writing.dispose()
        self._reading.dispose()


@contextmanager
def _outages_named() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise _outage(str(error)) from error
    except DBAPIError as error:
        # The server also ends connections with errors that are no outage by their class.
        if not (isinstance(error, _OUTAGES) or error.connection_invalidated):
            raise
        raise _outage(str(error.orig)) from error


def _outage(reason: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "the database did not take this request; try again later", cause=reason.strip()
    )
