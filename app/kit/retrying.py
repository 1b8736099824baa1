"""Work at a start that needs what may be away: the database, the disk."""

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from app.errors import Unavailable

T = TypeVar("T")
_FIRST_S = 1.0
_LONGEST_S = 30.0


def retried(
    work: Callable[[], T], *, stopping: Event, when_away: Callable[[Unavailable], None]
) -> T:
    """Do the work, from its beginning again as long as something it needs is away.

    Args:
        work: Has no lasting effect where it fails.
        stopping: Ends the retries.
        when_away: Told of each failure.

    Raises:
        Unavailable: It was still away when `stopping` was set.
    """
    pause_s = _FIRST_S
    while True:
        try:
            return work()
        except Unavailable as error:
            when_away(error)
            if stopping.wait(pause_s):
                raise
            pause_s = min(2 * pause_s, _LONGEST_S)
