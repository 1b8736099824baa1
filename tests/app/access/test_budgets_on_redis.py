"""Budgets on a real Valkey: shared by processes, and let go while it is away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from app.access.budget import Budget
from app.access.budget_store import open_store
from app.errors import RateLimited
from app.queue.embedded import EmbeddedValkey
from tests.support.keyed import SetClock


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("queue"))
    server.start()
    yield server
    server.start()
    server.stop()


@pytest.fixture
def url(valkey: EmbeddedValkey) -> str:
    client = valkey.address.client(timeout_s=5.0)
    client.flushall()
    client.close()
    return f"unix://{valkey.address.unix_socket}"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def budget(url: str, clock: SetClock) -> Iterator[Budget]:
    with ExitStack() as stack:
        yield Budget("edits", 10, open_store(url, clock, stack))


def _left(budget: Budget, caller: str = "key:a") -> int:
    """How many can still be charged, one by one."""
    count = 0
    with suppress(RateLimited):
        while budget.charge(caller, 1, field="edits"):
            count += 1
    return count


def test_the_count_is_exact_and_each_callers_own(budget: Budget) -> None:
    charge = budget.charge("key:a", 8, field="edits")
    assert charge is not None
    budget.give_back(charge, 3)
    with pytest.raises(RateLimited):
        budget.charge("key:a", 6, field="edits")
    assert (_left(budget), _left(budget, "key:b")) == (5, 10)


def test_a_new_minute_is_a_new_budget_and_old_counters_expire(
    budget: Budget, clock: SetClock, valkey: EmbeddedValkey
) -> None:
    charge = budget.charge("key:a", 10, field="edits")
    assert charge is not None
    clock.pass_by(timedelta(minutes=1))
    budget.give_back(charge, 10)
    assert _left(budget) == 10
    client = valkey.address.client(timeout_s=5.0)
    keys = client.keys("*")
    assert len(keys) == 2
    assert all(0 < client.ttl(key) <= 60 for key in keys)
    client.close()


_CHARGING = """
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from app.access.budget import Budget
from app.access.budget_store import open_store
with ExitStack() as stack:
    store = open_store(sys.argv[1], lambda: datetime(2026, 6, 1, tzinfo=UTC), stack)
    Budget("edits", 10, store).charge("key:a", 7, field="edits")
assert "torch" not in sys.modules
"""


def test_two_processes_share_a_budget(budget: Budget, url: str) -> None:
    subprocess.run([sys.executable, "-c", _CHARGING, url], check=True, timeout=60)
    assert _left(budget) == 3


def test_a_server_that_is_absent_lets_everything_through_and_is_told_of_once(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        budget = Budget("edits", 1, open_store(f"unix://{tmp_path / 'nobody'}", clock, stack))
        for _ in range(3):
            assert budget.charge("key:a", 1, field="edits") is None
            clock.pass_by(timedelta(minutes=1))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_server_that_hangs_holds_up_one_request_a_minute_and_is_used_again_when_it_is_back(
    budget: Budget, valkey: EmbeddedValkey, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="app.access.budget_store")
    charge = budget.charge("key:a", 10, field="edits")
    assert charge is not None
    pid = valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for _ in range(20):
            budget.give_back(charge, 1)
            assert budget.charge("key:a", 1, field="edits") is None
        assert time.monotonic() - started < 2.0
    finally:
        os.kill(pid, signal.SIGCONT)
    clock.pass_by(timedelta(minutes=1))
    assert _left(budget) == 10
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert told == ["budgets_not_counted", "budgets_counted_again"]
