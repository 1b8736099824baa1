import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest

from app.access.budget import Budget
from app.access.budget_store import open_store
from app.access.places import Places
from app.errors import OverBudget, RateLimited
from tests.support.keyed import SetClock


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def budget(clock: SetClock) -> Budget:
    return Budget("edits", 10, open_store(None, clock, ExitStack()))


def _charge(budget: Budget, amount: int, caller: str = "key:a") -> None:
    budget.charge(caller, amount, field="edits")


def test_a_caller_may_use_all_of_its_budget_and_no_more(budget: Budget) -> None:
    _charge(budget, 9)
    _charge(budget, 1)
    with pytest.raises(RateLimited, match="of 10 edits a minute 0 are left, and this needs 1;"):
        _charge(budget, 1)


def test_callers_do_not_share(budget: Budget) -> None:
    _charge(budget, 10, "key:a")
    _charge(budget, 10, "key:b")


def test_a_refused_request_costs_nothing(budget: Budget) -> None:
    _charge(budget, 6)
    for _ in range(3):
        with pytest.raises(RateLimited, match="a minute 4 are left, and this needs 5"):
            _charge(budget, 5)
    _charge(budget, 4)


@pytest.mark.parametrize("second", [0.0, 0.25, 17.0, 59.0, 59.999])
def test_waiting_as_long_as_told_is_enough_and_less_is_not(
    budget: Budget, clock: SetClock, second: float
) -> None:
    clock.pass_by(timedelta(seconds=second))
    _charge(budget, 10)
    with pytest.raises(RateLimited) as limited:
        _charge(budget, 10)
    wait_s = int(limited.value.headers["Retry-After"])
    assert 1 <= wait_s <= 60
    clock.pass_by(timedelta(seconds=wait_s - 1))
    with pytest.raises(RateLimited):
        _charge(budget, 10)
    clock.pass_by(timedelta(seconds=1))
    _charge(budget, 10)


def test_more_than_a_whole_budget_is_no_matter_of_waiting(budget: Budget) -> None:
    with pytest.raises(OverBudget, match="needs 11 edits, and a caller has 10 a minute") as over:
        _charge(budget, 11)
    assert (over.value.status, over.value.field) == (422, "edits")


def test_what_is_given_back_can_be_used_again(budget: Budget) -> None:
    charge = budget.charge("key:a", 10, field="edits")
    assert charge is not None
    budget.give_back(charge, 7)
    _charge(budget, 7)
    with pytest.raises(RateLimited):
        _charge(budget, 1)


def test_what_is_given_back_late_is_no_present_to_the_next_minute(
    budget: Budget, clock: SetClock
) -> None:
    charge = budget.charge("key:a", 10, field="edits")
    assert charge is not None
    clock.pass_by(timedelta(minutes=1))
    budget.give_back(charge, 10)
    _charge(budget, 10)
    with pytest.raises(RateLimited):
        _charge(budget, 1)


@pytest.fixture
def _busy_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_busy_threads")
def test_requests_at_the_same_time_get_what_there_is_and_no_more(budget: Budget) -> None:
    def charge(caller: str) -> bool:
        try:
            return budget.charge(caller, 1, field="edits") is not None
        except RateLimited:
            return False

    callers = [f"key:{number}" for number in range(2000) for _ in range(9)]
    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(charge, callers))
    for caller in dict.fromkeys(callers):
        assert charge(caller)
        assert not charge(caller)


def test_a_budget_of_zero_is_none(clock: SetClock) -> None:
    unlimited = Budget("edits", 0, open_store(None, clock, ExitStack()))
    assert unlimited.charge("key:a", 10**9, field="edits") is None


def test_a_clock_that_is_set_back_locks_nobody_out(budget: Budget, clock: SetClock) -> None:
    _charge(budget, 10)
    clock.pass_by(timedelta(hours=-1))
    _charge(budget, 10)


def test_streams_are_counted_for_each_caller_until_they_end() -> None:
    streams = Places("streams", 2)
    with ExitStack() as stack:
        for caller in ("key:a", "key:b", "key:a"):
            stack.enter_context(streams.opened(caller))
        with pytest.raises(RateLimited, match="of 2 streams at a time 0 are left"):
            stack.enter_context(streams.opened("key:a"))
    with streams.opened("key:a"):
        pass


def test_a_stream_that_fails_is_closed_too() -> None:
    streams = Places("streams", 1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), streams.opened("key:a"):
            raise ZeroDivisionError
