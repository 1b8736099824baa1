"""The one place that begins, commits and rolls back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.orm import Session

from app.database.engine import LOCK_TIMEOUT_S, open_engines, open_reader
from app.database.outage import outages_named
from app.database.purging import purge_postgresql, purge_sqlite
from app.errors import DatabaseOverloaded


class _WritingSession(Session):
    """Holds what it has read: others forget what nobody holds, read it again, and write before."""


@event.listens_for(_WritingSession, "loaded_as_persistent")
def _hold(session: Session, found: object) -> None:
    session.info.setdefault("held", []).append(found)


class Reader:
    """Sessions that only read, over the connections of one pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The pool, for what is no transaction."""
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent snapshot to read from; what is changed in it is dropped.

        Raises:
            DatabaseUnavailable: The database does not answer; the subclass says why.
        """
        with (
            outages_named(self._engine.url),
            Session(self._engine, expire_on_commit=False) as session,
        ):
            yield session

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: It gives none.
        """
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give back every connection; the next session opens a new one."""
        self._engine.dispose()


class Guard(Protocol):
    """What has a say in each commit."""

    def check(self, session: Session) -> None:
        """Raise where this transaction must not be committed."""

    def committed(self, session: Session) -> None:
        """Note that it was; the session has ended, and only its `info` is there."""


class Database:
    """Sessions on one database; objects stay readable after their session has ended.

    Args:
        url: Which one.
        guard: Asked before every commit, and told after it.
    """

    def __init__(self, url: str, guard: Guard | None = None) -> None:
        self._url = make_url(url)
        self._writing, reading = open_engines(url)
        self._readers = [Reader(reading)]
        self._guard = guard
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
            outages_named(self._url),
            _WritingSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
            if self._guard is not None:
                self._guard.check(session)
        if self._guard is not None:
            self._guard.committed(session)
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
            raise DatabaseOverloaded(
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
            DatabaseUnavailable: The database does not answer; the subclass says why.
        """
        with self._readers[0].read() as session:
            yield session

    def reader(self, connections: int) -> Reader:
        """A reader with connections of its own, which no other reader can use up."""
        self._readers.append(Reader(open_reader(self._url, connections)))
        return self._readers[-1]

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: It gives none.
        """
        self._readers[0].ping()

    def purge(self, deleted_by: str | None, *, within_s: float | None = None) -> bool:
        """Have what was deleted leave the files of the database; whether nothing of it is left.

        A reader who still sees it keeps it there: then ask again once that one has ended.

        Args:
            deleted_by: The newest transaction that deleted it, as `mark` names it.
            within_s: How long PostgreSQL may work on it, in seconds; None for as long as it takes.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        with outages_named(self._url):
            if self._writing.dialect.name == "sqlite":
                return purge_sqlite(self._writing)
            reading = self._readers[0].engine
            return deleted_by is None or purge_postgresql(reading, deleted_by, within_s)

    def close(self) -> None:
        """Give back every connection."""
        self._writing.dispose()
        for reader in self._readers:
            reader.close()
