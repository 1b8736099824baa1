"""Where long work lets others go first."""

from collections.abc import Callable

GiveWay = Callable[[], None]
"""``give_way()``: called between steps; returns when the work may go on."""


def go_on() -> None:
    """For work that nobody waits behind."""
