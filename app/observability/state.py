"""Series that mirror the database: read when they are asked for, so they are never stale."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.clock import Clock
from app.database.database import Database
from app.errors import DatabaseUnavailable
from app.observability.repository import State, state

_DATABASE_UP = ("errata_database_up", "1 if the database answered this scrape.")
_MIRRORED = {
    "errata_queue_depth": "Operations that are accepted and wait.",
    "errata_queue_running": "Operations that the worker has in hand.",
    "errata_queue_oldest_seconds": "Age of the oldest accepted operation; 0 without one.",
    "errata_edits_dead": "Edits that were given up and wait for somebody to look.",
    "errata_head_revision": "Newest revision of the ledger.",
    "errata_live_edits": "Edits that are live in it.",
}


class StateCollector(Collector):
    """Asks the database once a scrape; without a database only `errata_database_up` is told."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def describe(self) -> Iterator[Metric]:
        """All that may be collected."""
        yield GaugeMetricFamily(*_DATABASE_UP)
        for name, meaning in _MIRRORED.items():
            yield GaugeMetricFamily(name, meaning)

    def collect(self) -> Iterator[Metric]:
        """The state at this moment."""
        try:
            with self._database.read() as session:
                found = state(session)
        except DatabaseUnavailable:
            yield GaugeMetricFamily(*_DATABASE_UP, value=0)
            return
        yield GaugeMetricFamily(*_DATABASE_UP, value=1)
        for name, value in self._values(found).items():
            if value is not None:
                yield GaugeMetricFamily(name, _MIRRORED[name], value=value)

    def _values(self, found: State) -> dict[str, float | None]:
        age = 0.0 if found.oldest is None else (self._clock() - found.oldest).total_seconds()
        return {
            "errata_queue_depth": found.waiting,
            "errata_queue_running": found.running,
            "errata_queue_oldest_seconds": max(0.0, age),
            "errata_edits_dead": found.dead,
            "errata_head_revision": found.head,
            "errata_live_edits": found.live_edits,
        }


@contextmanager
def mirrored(registry: CollectorRegistry, database: Database, clock: Clock) -> Iterator[None]:
    """Tell of a database's state while it is open."""
    collector = StateCollector(database, clock)
    registry.register(collector)
    try:
        yield
    finally:
        registry.unregister(collector)
