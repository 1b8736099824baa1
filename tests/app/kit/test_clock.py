from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.kit.clock import new_id, rfc3339, utc_now


def test_a_moment_is_written_in_utc_to_the_microsecond() -> None:
    berlin = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 1, 1, 12, tzinfo=berlin)) == "2026-01-01T11:00:00.000000Z"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        rfc3339(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))


def test_the_clock_knows_its_zone() -> None:
    assert utc_now().tzinfo is UTC


def test_ids_say_what_they_name_and_differ() -> None:
    ids = {new_id("edit") for _ in range(100)}
    assert len(ids) == 100
    assert all(name.startswith("edit_") for name in ids)
