"""A request without an idempotency key, as most are."""

from datetime import timedelta

from app.kit.clock import utc_now
from app.operations.once import Once


def unkeyed(actor: str) -> Once:
    """A request of this caller, who would not send it again."""
    return Once(actor, route="", key=None, clock=utc_now, kept_for=timedelta(days=7))
