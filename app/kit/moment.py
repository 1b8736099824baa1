"""Moments that clients send."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_EXAMPLE = "2027-01-31T00:00:00Z"


def _written(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"must be a moment written as RFC 3339, such as {_EXAMPLE}")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(
            "lies outside the calendar; leave it out for a time without end"
        ) from error


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
"""With a time zone, as RFC 3339; in UTC."""
