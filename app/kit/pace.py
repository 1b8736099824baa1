"""How long a step that tells how far it is will take yet."""

import time
from collections.abc import Callable

_MINUTE_S = 60


class Pace:
    """How fast a step advances, from its first report on.

    Args:
        done: How far it was then.
        monotonic: Seconds that only ever grow.
    """

    def __init__(self, done: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._first, self._monotonic = done, monotonic
        self._since = monotonic()

    def seconds_left(self, done: int, total: int) -> float | None:
        """How long the rest takes at this pace; None before it is known."""
        gained = done - self._first
        if gained <= 0:
            return None
        return (self._monotonic() - self._since) * (total - done) / gained


def in_words(seconds: float) -> str:
    """``2 min 5 s``, or ``12 s``."""
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
