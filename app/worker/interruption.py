"""Ending a computation between two of its steps, once its result is not wanted."""

import threading

from sqlalchemy.orm import Session

from app.operations.queue_state import state
from app.operations.repository import next_undoing
from editing_core.giving_way import GiveWay, go_on


class Interrupted(Exception):
    """What is being computed is to be thrown away; nothing of it was written."""


class Interruption:
    """Why the one computation of this process is to end early, for all who find out.

    Args:
        give_way: Lets others go first, before each step.
    """

    def __init__(self, give_way: GiveWay = go_on) -> None:
        self._give_way = give_way
        self._stopping, self._asked = threading.Event(), threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether this process is to end."""
        return self._stopping.is_set()

    @property
    def is_asked(self) -> bool:
        """Whether what is computed now is to end."""
        return self._asked.is_set()

    def stop(self) -> None:
        """This process is to end."""
        self._stopping.set()
        self._asked.set()

    def ask(self) -> None:
        """Have what is computed now ended."""
        self._asked.set()

    def look(self, session: Session) -> None:
        """Have it ended if a revert or rollback waits, or the queue is paused.

        Either would change the weights it starts from, or keep it from being committed.
        """
        if next_undoing(session) is not None or state(session).paused_at is not None:
            self.ask()

    def renew(self) -> None:
        """Something else is computed now; only a stop still counts."""
        self._asked.clear()
        if self.is_stopping:
            self._asked.set()

    def step(self) -> None:
        """Let others go first; called between two steps.

        Raises:
            Interrupted: The computation is to end.
        """
        self.check()
        self._give_way()
        self.check()

    def check(self) -> None:
        """Go on, unless the computation is to end.

        Raises:
            Interrupted: It is.
        """
        if self._asked.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Let time pass, but not beyond an interruption.

        Raises:
            Interrupted: There was one.
        """
        self._asked.wait(seconds)
        self.check()
