"""How long steps tell how far they are."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(step, done, total)``: called as a step advances; ``total`` is fixed per step."""


def silent(_step: str, _done: int, _total: int) -> None:
    """A progress nobody watches."""
