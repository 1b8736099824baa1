"""How many streams each caller has open in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from app.errors import RateLimited

_RETRY_S = 1  # nobody knows when a stream will end


class Streams:
    """Counts open streams.

    Args:
        most: How many one caller may have open at the same time; 0 for any number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._open = Counter[str]()

    @contextmanager
    def opened(self, caller: str) -> Iterator[None]:
        """Hold one more stream of this caller open.

        Raises:
            RateLimited: So many are open already.
        """
        with self._lock:
            if self._most and self._open[caller] >= self._most:
                raise RateLimited(
                    f"of {self._most} streams at a time 0 are left, and this would be one more",
                    retry_after_s=_RETRY_S,
                )
            self._open[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[caller] -= 1
                if not self._open[caller]:
                    del self._open[caller]
