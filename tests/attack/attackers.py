"""Attacks run in a process of lower priority: what is measured is the server, not the scheduler."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import ParamSpec

from tests.attack.raw import Answer

P = ParamSpec("P")
#: what an attack does, and what the server made of each request
Attack = Callable[P, list[Answer]]

_NICE = 19
_AT_ONCE = 2


class Attackers:
    """Runs attacks: functions of a module, with arguments that can be pickled."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def begin(self, attack: Attack[P], *args: P.args, **named: P.kwargs) -> Future[list[Answer]]:
        """Start an attack."""
        return self._pool.submit(attack, *args, **named)


@contextmanager
def attackers() -> Iterator[Attackers]:
    """Processes for two attacks at a time."""
    with ProcessPoolExecutor(
        _AT_ONCE, mp_context=get_context("spawn"), initializer=os.nice, initargs=(_NICE,)
    ) as pool:
        yield Attackers(pool)
