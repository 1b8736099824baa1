"""Whether a process that shows a beat while it lives has become silent."""

import time
from collections.abc import Callable, Hashable


class Silence:
    """Watches beats by its own monotonic clock: no clock that somebody can set decides anything.

    Args:
        patience_s: How long a beat may stand still, in seconds.
        monotonic: Seconds that only ever grow.
    """

    def __init__(self, patience_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._monotonic = patience_s, monotonic
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def has_lasted(self, of: Hashable, beat: Hashable) -> bool:
        """Whether this beat, as it is now, has stood still for too long since it was first seen."""
        now = self._monotonic()
        if of not in self._seen or self._seen[of][0] != beat:
            self._seen[of] = (beat, now)
        return now - self._seen[of][1] >= self._patience_s
