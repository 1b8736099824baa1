"""The right to write: held by one process at a time, and useless to one that lost it.

Every write of the worker goes through `Lease.writing`, whose transaction fails if another process
took the lease meanwhile; so nothing depends on a paused process noticing that its time is over.
No clock that somebody can set decides anything: a waiting process sees by its own monotonic clock
whether the holder's beat still grows.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.tables.lease import WriterLease
from app.errors import LeaseLost, Unavailable
from app.kit.logs import get_logger
from app.kit.process import ProcessId
from app.kit.silence import Silence

_BEATS = 4  # while a holder may be silent
_STOP_S = 1.0
_ROW = 1
_log = get_logger(__name__)


class Watch(Protocol):
    """What its holder wants to know at each beat, while it computes."""

    def look(self, session: Session) -> None:
        """Look at the database in the transaction of the beat."""

    def ask(self) -> None:
        """The lease is lost: what is computed is void."""


class Lease:
    """This process's claim on the one row of `writer_lease`.

    Args:
        database: Where the row is.
        silence_s: How long a holder may show no beat before another takes over, in seconds.
        process: Who claims.
        watch: Told at each beat, and when the lease is lost.
        monotonic: Seconds that only ever grow.
    """

    def __init__(
        self,
        database: Database,
        *,
        silence_s: float,
        process: ProcessId,
        watch: Watch | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._silence_s = database, silence_s
        self._process, self._watch = process, watch
        self._silence = Silence(silence_s, monotonic)
        self._fence: int | None = None
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def fence(self) -> int | None:
        """Which holder this process is, counted from the first; None while it is none."""
        return self._fence

    def acquire(self) -> bool:
        """Take the lease if it is free or its holder is gone or silent; whether it is ours.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        if self._fence is not None:
            return True
        with self._database.read() as session:
            if not self._may_take(session.get_one(WriterLease, _ROW)):
                return False
        with self._database.write() as session:
            row = session.get_one(WriterLease, _ROW)
            if not self._may_take(row):
                return False
            row.holder, row.fence, row.beat = self._process.to_text(), row.fence + 1, 0
            fence = row.fence
        self._fence = fence
        _log.info("lease_taken", fence=fence)
        if not self._beating.is_alive():
            self._beating.start()
        return True

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A write transaction of the lease's holder.

        Raises:
            LeaseLost: Another process has taken it; nothing was written.
            DatabaseUnavailable: See `Database.write`.
        """
        with self._database.write() as session:
            row = session.get_one(WriterLease, _ROW)
            if self._fence is None or row.fence != self._fence:
                self._fence = None
                raise LeaseLost(row.fence)
            yield session

    @contextmanager
    def lost(self) -> Iterator[Session]:
        """A write transaction of a process that lost it, to take back what it began."""
        with self._database.write() as session:
            yield session

    def release(self, last: Callable[[Session], None] | None = None) -> None:
        """Give it back, so that the next process need not wait.

        Args:
            last: What is written in the same transaction.
        """
        self._ended.set()
        if self._beating.is_alive():
            self._beating.join(_STOP_S)
        if self._fence is None:
            return
        try:
            with self.writing() as session:
                if last is not None:
                    last(session)
                session.get_one(WriterLease, _ROW).holder = None
        except (LeaseLost, Unavailable) as error:
            _log.warning("lease_not_released", error=str(error))
        self._fence = None

    def _may_take(self, row: WriterLease) -> bool:
        holder = None if row.holder is None else ProcessId.from_text(row.holder)
        if holder is None or holder == self._process or holder.is_gone:
            return True
        return self._silence.has_lasted(_ROW, (row.fence, row.beat))

    def _beat(self) -> None:
        while not self._ended.wait(self._silence_s / _BEATS):
            if self._fence is None:
                continue  # lost; the worker may take it again
            try:
                with self.writing() as session:
                    session.get_one(WriterLease, _ROW).beat += 1
                    if self._watch is not None:
                        self._watch.look(session)
            except LeaseLost as error:
                _log.warning("lease_lost", error=str(error))
                if self._watch is not None:
                    self._watch.ask()
            except Unavailable as error:
                _log.warning("lease_beat_missed", error=str(error))
