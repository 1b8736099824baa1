"""The doorbell of one process, for installations that want no second one."""

from threading import Condition


class MemoryDoorbell:
    """A `Doorbell` that is heard by the worker of the same process only.

    It starts rung: rings that an earlier process heard ended with it, so the database is to be
    looked into first. Another process finds what is accepted here when it looks on its own.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._rung, self._heard, self._acknowledged = 1, 0, 0
        self._closed = False

    def ring(self, operation_id: str) -> None:
        """Say that an operation was accepted."""
        del operation_id  # it is in the database, as for every doorbell
        with self._changed:
            self._rung += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung; true at once while earlier rings are not acknowledged."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_due, timeout_s)
            self._heard = self._rung
            return self._is_due

    def acknowledge(self) -> None:
        """Forget the rings heard so far; what rang since is still due."""
        with self._changed:
            self._acknowledged = self._heard

    def ping(self) -> None:
        """There is nothing that could be away."""

    def close(self) -> None:
        """End a `wait` in another thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def _is_due(self) -> bool:
        return self._rung > self._acknowledged
