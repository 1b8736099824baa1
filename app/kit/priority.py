"""Queries go before edits: who reads now, and how the one who writes steps back."""

import os
import sys
import threading
import time
from collections.abc import Callable
from math import inf

_PATIENCE_S = 0.25  # an edit is not to stand still under a constant load of queries
_SHARE = 4  # of the time that a step took, queries get before the next
_STEP_BACK = 5  # niceness: about a third of a core where a query wants the same one


class Readers:
    """How much work of queries waits or runs; shared by those who read and the one who edits.

    Args:
        patience_s: Longest time that a step of an edit lets queries go first, in seconds.
        monotonic: Seconds that only ever grow.
    """

    def __init__(
        self,
        patience_s: float = _PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience_s, self._monotonic = patience_s, monotonic
        self._went_on = -inf
        self._lock = threading.Lock()
        self._working = 0
        self._none = threading.Event()
        self._none.set()

    def enter(self) -> None:
        """A piece of work has come."""
        with self._lock:
            self._working += 1
            self._none.clear()

    def leave(self) -> None:
        """A piece of work is done, or dropped."""
        with self._lock:
            self._working -= 1
            if not self._working:
                self._none.set()

    def give_way(self) -> None:
        """Return once no query is at work, or when patience ends: sooner before short steps.

        For the one thread that edits; what it did since it last went on is its step.
        """
        step_s = self._monotonic() - self._went_on
        self._none.wait(min(self._patience_s, _SHARE * step_s))
        self._went_on = self._monotonic()


def step_back() -> None:
    """Let every other thread of the process go before this one and the threads it starts.

    Only Linux gives threads a niceness of their own; elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(niceness + _STEP_BACK, 19))
