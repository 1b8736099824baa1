"""Waiting for something to become true, instead of sleeping and hoping."""

import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.01


def wait_until(predicate: Callable[[], bool], timeout_s: float, *, what: str = "condition") -> None:
    """Return as soon as `predicate` holds; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s")
        time.sleep(_LOOK_EVERY_S)
