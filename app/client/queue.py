"""The queue over HTTP, for those with the scope ``rollback``."""

from collections.abc import Mapping
from datetime import datetime

from app.client.answers import CancelledEdits, Queue
from app.client.connection import Connection


class QueueControl:
    """The queue of one server; its methods raise what those of `Errata` do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def show(self) -> Queue:
        """Whether edits are executed, and how many operations wait."""
        return self._connection._get("/v1/queue", Queue)

    def pause(self, reason: str | None = None, *, idempotency_key: str | None = None) -> Queue:
        """Begin no more edits; reverts and rollbacks are executed."""
        body = {"reason": reason}
        return self._connection._post("/v1/queue/pause", body, Queue, idempotency_key)

    def resume(self, *, idempotency_key: str | None = None) -> Queue:
        """Execute edits again, in their order."""
        return self._connection._post("/v1/queue/resume", None, Queue, idempotency_key)

    def cancel(
        self,
        *,
        actor: str | None = None,
        subject: str | None = None,
        batch: str | None = None,
        method: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        all: bool = False,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> int:
        """Cancel the edits that wait and match everything given; how many there were.

        Args:
            actor: Who posted them.
            subject: What they are about, in any spelling.
            batch: The batch they came in.
            method: How they were to be computed.
            metadata: Labels that they all have.
            created_after: Since when they were posted, with a time zone.
            created_before: Until when.
            all: Every edit that waits; needed where nothing else is given.
            dry_run: Only count them.
            idempotency_key: Names the request, so that it may be sent again.
        """
        body = {
            "actor": actor,
            "subject": subject,
            "batch": batch,
            "method": method,
            "metadata": dict(metadata or {}),
            "created_after": None if created_after is None else created_after.isoformat(),
            "created_before": None if created_before is None else created_before.isoformat(),
            "all": all,
            "dry_run": dry_run,
        }
        found = self._connection._post("/v1/queue/cancel", body, CancelledEdits, idempotency_key)
        return found.cancelled
