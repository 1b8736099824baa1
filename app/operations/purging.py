"""Purges erased words from the database's files, and retries while readers hold them."""

import threading
import time

from app.database.database import Database
from app.errors import Unavailable
from app.kit.clock import Clock
from app.kit.logs import get_logger
from app.operations import erasures as repository

_PATIENCE_S = 1.0  # how long an answer waits for readers that are nearly done
_PAUSE_S = 0.05
_LOOK_EVERY_S = 2.0
_log = get_logger(__name__)


def purge(database: Database, clock: Clock, *, within_s: float | None = None) -> int:
    """Try once to have all erased words leave the files; how many erasures are still pending.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    with database.read() as session:
        pending = repository.pending(session)
    if not pending:
        return 0
    newest = max((found.mark for found in pending if found.mark is not None), key=int, default=None)
    if not database.purge(newest, within_s=within_s):
        return len(pending)
    with database.write() as session:
        repository.finish(session, [found.operation_id for found in pending], clock())
    _log.info("erasures_done", erasures=len(pending))
    return 0


def purge_soon(database: Database, clock: Clock) -> None:
    """Try for a short while; what is then still pending is left to the `Purger`."""
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while purge(database, clock, within_s=_PATIENCE_S) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
    except Unavailable as error:  # the words are out of the tables already, and that is committed
        _log.warning("purge_interrupted", error=str(error))


class Purger:
    """A thread that completes the erasures that an answer, or a process before, left pending.

    Args:
        database: Where erasures are.
        clock: When one was done.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="purger", daemon=True)
        self._left = 0

    def start(self) -> None:
        """Begin with what is pending."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is pending is for the next start."""
        self._stopped.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                left = purge(self._database, self._clock)
            except Unavailable as error:
                _log.warning("purge_interrupted", error=str(error))
            else:
                if left > self._left:
                    _log.warning("erasures_pending", erasures=left)
                self._left = left
            self._stopped.wait(_LOOK_EVERY_S)
