"""Who is connected, and who makes way when there is no room for another."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from app.kit import descriptors
from app.kit.logs import get_logger
from app.metrics.metrics import Metrics, expect
from app.settings import Settings

_LOG_EVERY_S = 10.0
_log = get_logger(__name__)


class Ending(StrEnum):
    """Why the service ended a connection by itself."""

    MADE_WAY = "made_way"
    """A new connection needed its place."""
    REFUSED = "refused"
    """Every place was taken by a request that is being answered."""
    LATE_HEADERS = "late_headers"
    """The request line and headers took too long."""
    LATE_BODY = "late_body"
    """The body took too long, or stopped."""
    UNREADABLE = "unreadable"
    """What it sent is not HTTP, or exceeds a limit."""


class Guest(Protocol):
    """One connection, as the one who counts them sees it."""

    address: str

    @property
    def is_served(self) -> bool:
        """Whether a complete request of a known caller is being answered."""

    def overdue(self, now: float) -> Ending | None:
        """Which deadline has passed, if one has."""

    def end(self, why: Ending) -> None:
        """Close it."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one process allows its clients; each is explained by the setting of its name."""

    max_connections: int
    max_connections_per_address: int
    max_header_bytes: int
    max_headers: int
    max_body_bytes: int
    header_timeout_s: float
    body_stall_s: float
    body_timeout_s: float
    idle_timeout_s: int
    write_stall_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the operator allows, as far as the process may open that many descriptors."""
        asked = {name: getattr(settings, name) for name in cls.__dataclass_fields__}
        return cls(**asked | {"max_connections": descriptors.room_for(settings.max_connections)})


class Connections:
    """All open connections of a process, the one that has waited longest first.

    When all places are taken, the connection that has waited longest for its client makes way for
    the new one, so that silent clients keep no other client out. Only a connection whose request is
    complete, from a caller who is known, and being answered keeps its place whatever comes.

    It belongs to the event loop: no method may be called from another thread.
    """

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        expect(metrics.connections_ended, Ending)
        self._open: dict[Guest, None] = {}  # in the order in which they began to wait
        self._of_address: Counter[str] = Counter()
        self._untold: Counter[Ending] = Counter()
        self._told_at = float("-inf")

    def admit(self, guest: Guest) -> bool:
        """Give a new connection a place; False if every place is taken by a running request."""
        if not (self._has_room(guest) or self._make_way(guest)):
            self.note(Ending.REFUSED)
            return False
        self._open[guest] = None
        self._of_address[guest.address] += 1
        self._metrics.connections.set(len(self._open))
        return True

    def waits(self, guest: Guest) -> None:
        """Its client's turn: it has been answered, and begins to wait now."""
        if guest in self._open:
            del self._open[guest]
            self._open[guest] = None

    def left(self, guest: Guest) -> None:
        """It is closed; may be said twice."""
        if guest not in self._open:
            return
        del self._open[guest]
        self._of_address[guest.address] -= 1
        if not self._of_address[guest.address]:
            del self._of_address[guest.address]
        self._metrics.connections.set(len(self._open))

    def note(self, why: Ending) -> None:
        """Count a connection that the service ends; the log is told of many at once."""
        self._untold[why] += 1
        self._metrics.connections_ended.labels(why.value).inc()

    def sweep(self, now: float) -> None:
        """End the connections whose deadline has passed; call it every second."""
        for guest in list(self._open):
            if (why := guest.overdue(now)) is not None:
                self.note(why)
                guest.end(why)
        if self._untold and now - self._told_at >= _LOG_EVERY_S:
            _log.warning("connections_ended", open=len(self._open), **_counts(self._untold))
            self._untold.clear()
            self._told_at = now

    def _has_room(self, guest: Guest) -> bool:
        return len(self._open) < self.limits.max_connections and not self._is_full(guest.address)

    def _is_full(self, address: str) -> bool:
        most = self.limits.max_connections_per_address
        return bool(most) and self._of_address[address] >= most

    def _make_way(self, guest: Guest) -> bool:
        address = guest.address if self._is_full(guest.address) else None
        oldest = next(self._waiting(address), None)
        if oldest is None:
            return False
        self.note(Ending.MADE_WAY)
        self.left(oldest)
        oldest.end(Ending.MADE_WAY)
        return True

    def _waiting(self, address: str | None) -> Iterator[Guest]:
        for guest in self._open:
            if not guest.is_served and address in (None, guest.address):
                yield guest


def _counts(endings: Counter[Ending]) -> dict[str, int]:
    return {why.value: number for why, number in endings.items()}
