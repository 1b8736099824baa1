import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch import Tensor

from app.errors import InvalidField, RevisionNotServed
from app.query.freshness import Freshness
from app.resident.resident import Resident
from editing_core.model.loading import load_model


@pytest.fixture
def resident(tiny_folder: Path) -> Resident:
    def none_older(revision: int) -> Mapping[int, Tensor]:
        raise AssertionError(revision)

    base = load_model(str(tiny_folder), cache_dir=tiny_folder.parent / "cache")
    return Resident(base, none_older, revision=1, weights={})


def test_a_committed_revision_is_waited_for_until_it_is_served(resident: Resident) -> None:
    async def scenario() -> int:
        waiting = asyncio.create_task(Freshness(resident, lambda: 3, wait_s=20).reach(2))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        await asyncio.to_thread(resident.publish, 2, {})  # as the worker does, in its own thread
        await waiting
        return resident.head

    assert asyncio.run(scenario()) == 2


def test_a_committed_revision_that_is_not_served_in_time_is_unavailable(resident: Resident) -> None:
    with pytest.raises(RevisionNotServed, match=r"revision 2 is committed.*serves revision 1"):
        asyncio.run(Freshness(resident, lambda: 2, wait_s=0.05).reach(2))


def test_a_revision_that_nobody_committed_is_refused_at_once(resident: Resident) -> None:
    with pytest.raises(InvalidField, match="revision 4, but the newest is 3"):
        asyncio.run(Freshness(resident, lambda: 3, wait_s=1000).reach(4))


def test_the_ledger_is_not_asked_while_the_head_is_new_enough(resident: Resident) -> None:
    def unreachable() -> int:
        raise AssertionError

    asyncio.run(Freshness(resident, unreachable, wait_s=0).reach(1))
