"""Time and names for new things, passed in so that a test decides both."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
IdFactory = Callable[[str], str]

_ID_BYTES = 12


def utc_now() -> datetime:
    """The wall clock in UTC."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """An id nobody else will draw, such as `edit_5f0c…`."""
    return f"{prefix}_{secrets.token_hex(_ID_BYTES)}"


def rfc3339(moment: datetime) -> str:
    """The moment as the API and the ledger write it, in UTC to the microsecond.

    Raises:
        ValueError: The moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"moment {moment!r} has no time zone; an aware datetime is needed")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
