"""All that a caller's use is held against."""

from contextlib import ExitStack
from dataclasses import dataclass

from app.budgets.budget import Budget
from app.budgets.store import open_store
from app.budgets.streams import Streams
from app.clock import Clock
from app.settings import Settings


@dataclass(frozen=True)
class Budgets:
    """What each caller may use: edits and generated tokens by the minute, and streams at a time."""

    edits: Budget
    tokens: Budget
    streams: Streams

    @classmethod
    def open(cls, settings: Settings, clock: Clock, stack: ExitStack) -> "Budgets":
        """The budgets that the operator sets, shared by all processes on one ERRATA_REDIS_URL."""
        store = open_store(settings.redis_url if settings.has_shared_queue else None, clock, stack)
        return cls(
            Budget("edits", settings.edits_per_minute, store),
            Budget("tokens", settings.tokens_per_minute, store),
            Streams(settings.concurrent_streams),
        )
