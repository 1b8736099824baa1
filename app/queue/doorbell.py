"""The port between those who accept operations and the worker that executes them.

A doorbell only says "look": what is to be done, and in which order, is in the database. Rings may
be lost or doubled, so the worker also looks on its own from time to time.
"""

from typing import Protocol


class Doorbell(Protocol):
    """Wakes the worker."""

    def ring(self, operation_id: str) -> None:
        """Say that an operation was accepted, after its transaction committed; never raises."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung, at most `timeout_s`; whether it rang since the last acknowledgement."""

    def acknowledge(self) -> None:
        """Forget every ring that `wait` has told of; call it when the database is worked off."""

    def ping(self) -> None:
        """Ask for a sign of life, and whether rings are taken.

        Raises:
            QueueUnavailable: There is none.
            QueueFull: They are not, for want of memory.
        """

    def close(self) -> None:
        """End a `wait` in another thread and give back the connections."""
