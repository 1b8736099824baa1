"""All that a caller's use is held against."""

from contextlib import ExitStack
from dataclasses import dataclass

from app.access.budget import Budget
from app.access.budget_store import open_store
from app.access.places import Places
from app.kit.clock import Clock
from app.settings import Settings

_REPORTS = 8  # of one caller at the same time, one of which is worked at
_REPORTS_IN_ALL = 32
_DOWNLOADS = 2  # of one caller; each takes memory or disk until it was fetched
_DOWNLOADS_IN_ALL = 8


@dataclass(frozen=True)
class Budgets:
    """What each caller may use.

    Attributes:
        edits: Edits by the minute.
        edit_bytes: Bytes of their texts by the minute.
        tokens: Tokens of prompts and answers by the minute.
        streams: Streams of answers at a time.
        listeners: Streams of events at a time.
        waiters: Requests that wait for the end of an operation, at a time.
        reports: Requests whose cost grows with history, at a time.
        downloads: Those of them that are answered with a file of all of it.
    """

    edits: Budget
    edit_bytes: Budget
    tokens: Budget
    streams: Places
    listeners: Places
    waiters: Places
    reports: Places
    downloads: Places

    @property
    def are_counted(self) -> bool:
        """Whether what callers used lately could be counted."""
        return self.edits.store.is_counting

    @classmethod
    def open(cls, settings: Settings, clock: Clock, stack: ExitStack) -> "Budgets":
        """The budgets that the operator sets, shared by all processes on one ERRATA_REDIS_URL."""
        store = open_store(settings.redis_url if settings.has_shared_queue else None, clock, stack)
        return cls(
            edits=Budget("edits", settings.edits_per_minute, store),
            edit_bytes=Budget("bytes of edits", settings.edit_bytes_per_minute, store),
            tokens=Budget("tokens", settings.tokens_per_minute, store),
            streams=Places("streams", settings.concurrent_streams),
            listeners=Places("listeners", settings.listeners_per_caller),
            waiters=Places(
                "waiting requests", settings.waiters_per_caller, in_all=settings.max_waiters
            ),
            reports=Places("reports on history", _REPORTS, in_all=_REPORTS_IN_ALL),
            downloads=Places("downloads of history", _DOWNLOADS, in_all=_DOWNLOADS_IN_ALL),
        )
