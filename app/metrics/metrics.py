"""Every series there is, by name; each app and each worker has a registry of its own.

Labels take few values, all of them words of this program: never a path, an id or a text.
"""

from collections.abc import Callable, Iterable
from itertools import product
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from app.facts.edit_report import PhaseSeconds

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PHASE_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


def expect(counter: Counter, *labels: Iterable[str]) -> None:
    """Show a counter's series at 0 from the start: a rule sees no rise in one that begins above.

    Args:
        counter: Which.
        labels: The values that each of its labels may have.
    """
    for values in product(*labels):
        counter.labels(*values)


class Metrics:
    """The series that move when something happens; `app.metrics.mirrored` has the others."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "errata_http_requests",
            "Requests answered, by method, route template and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.refused = Counter(
            "errata_requests_refused",
            "Requests whose sender was not let in, by reason.",
            ["reason"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "errata_http_request_seconds",
            "Time until the last byte of an answer was sent.",
            ["method", "route"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self.connections = Gauge(
            "errata_http_connections", "Connections that are open.", registry=registry
        )
        self.connections_ended = Counter(
            "errata_http_connections_ended",
            "Connections that the service ended by itself, by reason.",
            ["reason"],
            registry=registry,
        )
        self.phase_seconds = Histogram(
            "errata_edit_phase_seconds",
            "Wall time of one batch of edits, by phase.",
            ["phase"],
            buckets=_PHASE_S,
            registry=registry,
        )
        self.ended = Counter(
            "errata_operations_ended",
            "Operations that this process brought to an end, by kind and status.",
            ["kind", "status"],
            registry=registry,
        )
        self.gates_failed = Counter(
            "errata_gates_failed", "Gates that edits failed, by gate.", ["gate"], registry=registry
        )
        self.writer = Gauge(
            "errata_writer",
            "1 while this process holds the lease and executes edits.",
            registry=registry,
        )
        self.served_revision = Gauge(
            "errata_served_revision",
            "Revision this process serves; NaN without a model.",
            registry=registry,
        )
        self.generation_seconds = Histogram(
            "errata_generation_seconds",
            "Time to generate all choices of a request.",
            buckets=_REQUEST_S,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "errata_first_token_seconds",
            "Time to the first generated token of a request.",
            buckets=_REQUEST_S,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "errata_prompt_tokens", "Tokens of prompts read.", registry=registry
        )
        self.generated_tokens = Counter(
            "errata_generated_tokens", "Tokens generated.", registry=registry
        )
        self.verifications = Counter(
            "errata_verifications",
            "Checks of the ledger, by result: ok or failed.",
            ["result"],
            registry=registry,
        )
        self.queue_up = Gauge(
            "errata_queue_up",
            "1 if the queue answered this scrape and takes rings.",
            registry=registry,
        )
        self.budgets_counted = Gauge(
            "errata_budgets_counted",
            "1 unless what callers use could not be counted lately.",
            registry=registry,
        )
        self.served_revision.set(nan)
        expect(self.verifications, ["ok", "failed"])

    def tell_of_queue(self, is_up: Callable[[], bool], is_counted: Callable[[], bool]) -> None:
        """Ask at each scrape whether the queue takes rings and whether budgets are counted."""
        self.queue_up.set_function(is_up)
        self.budgets_counted.set_function(is_counted)

    def solved(self, seconds: PhaseSeconds) -> None:
        """A batch was solved and measured; its commit is timed apart."""
        for phase, taken in seconds.model_dump(exclude={"commit"}).items():
            self.phase_seconds.labels(phase).observe(taken)
