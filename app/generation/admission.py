"""Which prompt may begin next: a bounded number of places, shared out fairly."""

from collections import deque

from app.generation.engine import Ask
from app.generation.request import Order


class Admission:
    """Hands out places; requests take turns, and one that fits is never overtaken for ever.

    Args:
        places: Most continuations at the same time, at least as many as one prompt may need.
            One request has half of them at most, whatever the length of its list of prompts.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._share = places // 2
        self._waiting = deque[Order]()

    @property
    def waiting(self) -> bool:
        """Whether prompts may be waiting to begin."""
        return bool(self._waiting)

    def add(self, order: Order) -> None:
        """Let an order queue up."""
        self._waiting.append(order)

    def admit(self) -> tuple[Order, Ask] | None:
        """The next prompt to begin, with its places taken; None if none can begin now."""
        for _ in range(len(self._waiting)):
            order = self._waiting[0]
            if order.abandoned or not order.asks:
                self._waiting.popleft()
                continue
            places = order.asks[0].places
            if order.places and order.places + places > self._share:
                self._waiting.rotate(-1)
                continue
            if places > self._free:
                return None  # it stays first: smaller ones must not pass it by
            self._waiting.rotate(-1)
            self._free -= places
            order.places += places
            return order, order.asks.popleft()
        return None

    def release(self, order: Order, places: int) -> None:
        """Take back places of an order."""
        self._free += places
        order.places -= places
