"""Series that mirror the database: read when they are asked for, so they are never stale."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.database.database import Database
from app.errors import DatabaseUnavailable
from app.facts.revision_report import RevisionReport
from app.kit.clock import Clock
from app.metrics.repository import State, state

_DATABASE_UP = "errata_database_up"

#: what each series means
MIRRORED: Mapping[str, str] = {
    _DATABASE_UP: "1 if the database answered this scrape.",
    "errata_queue_depth": "Operations that are accepted and wait.",
    "errata_queue_running": "Operations that the worker has in hand.",
    "errata_queue_paused": "1 while no edit is begun, since somebody paused the queue.",
    "errata_queue_oldest_seconds": "Age of the oldest accepted operation; 0 without one.",
    "errata_edits_dead": "Edits that were given up and wait for somebody to look.",
    "errata_erasures_pending": "Erasures whose words a reader keeps in the database's files.",
    "errata_lease_held": "1 if a process holds the lease, alive or not.",
    "errata_lease_beat": "Changes four times in ERRATA_LEASE_S while that process lives.",
    "errata_head_revision": "Newest revision of the ledger.",
    "errata_live_edits": "Edits that are live in it.",
    "errata_head_energy_drift": "Largest |HE / HE of the base - 1| of one of its matrices.",
    "errata_head_perplexity_ratio": "Its perplexity on reference text over the base's.",
}


class StateCollector(Collector):
    """Asks the database once a scrape; without a database only `errata_database_up` is told."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def describe(self) -> Iterator[Metric]:
        """All that may be collected."""
        for name, meaning in MIRRORED.items():
            yield GaugeMetricFamily(name, meaning)

    def collect(self) -> Iterator[Metric]:
        """The state at this moment; what is not known is left out."""
        for name, value in self._values().items():
            if value is not None:
                yield GaugeMetricFamily(name, MIRRORED[name], value=value)

    def _values(self) -> dict[str, float | None]:
        try:
            with self._database.read() as session:
                found = state(session)
        except DatabaseUnavailable:
            return {_DATABASE_UP: 0}
        age = 0.0 if found.oldest is None else (self._clock() - found.oldest).total_seconds()
        return {
            _DATABASE_UP: 1,
            "errata_queue_depth": found.waiting,
            "errata_queue_running": found.running,
            "errata_queue_oldest_seconds": max(0.0, age),
            "errata_queue_paused": found.paused is not None,
            "errata_edits_dead": found.dead,
            "errata_erasures_pending": found.erasing,
            "errata_lease_held": found.writer is not None,
            "errata_lease_beat": found.beat,
            "errata_head_revision": found.head,
            "errata_live_edits": found.live_edits,
            **_drift(found),
        }


def _drift(found: State) -> dict[str, float | None]:
    if found.measured is None or found.base_measured is None:
        return {}
    head = RevisionReport.model_validate(found.measured)
    base = RevisionReport.model_validate(found.base_measured)
    energies = {layer.layer: layer.energy for layer in base.layers}
    drifts = [
        abs(layer.energy / origin - 1)
        for layer in head.layers
        if layer.energy is not None and (origin := energies.get(layer.layer))
    ]
    alike = head.perplexity_tokens == base.perplexity_tokens
    return {
        "errata_head_energy_drift": max(drifts, default=None),
        "errata_head_perplexity_ratio": head.perplexity / base.perplexity
        if head.perplexity and base.perplexity and alike
        else None,
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
