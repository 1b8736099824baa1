"""How many of something each caller may have at the same time in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from app.errors import RateLimited

_RETRY_S = 1  # a place may become free at any time


class Places:
    """Counts what is open: streams, listeners, requests that wait.

    Args:
        unit: What is counted, in the plural.
        most: How many one caller may have at the same time; 0 for any number.
        in_all: How many all callers together may have; 0 for any number.
    """

    def __init__(self, unit: str, most: int, *, in_all: int = 0) -> None:
        self._unit, self._most, self._in_all = unit, most, in_all
        self._lock = Lock()
        self._open = Counter[str]()

    @property
    def taken(self) -> int:
        """How many are open now."""
        with self._lock:
            return self._open.total()

    @contextmanager
    def opened(self, caller: str) -> Iterator[None]:
        """Hold one more of this caller open.

        Raises:
            RateLimited: So many are open already.
        """
        with self._lock:
            if self._most and self._open[caller] >= self._most:
                raise self._refusal(self._most, "")
            if self._in_all and self._open.total() >= self._in_all:
                raise self._refusal(self._in_all, " for all callers together")
            self._open[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[caller] -= 1
                if not self._open[caller]:
                    del self._open[caller]

    def _refusal(self, most: int, whose: str) -> RateLimited:
        return RateLimited(
            f"of {most} {self._unit} at a time{whose} 0 are left, and this would be one more",
            retry_after_s=_RETRY_S,
        )
