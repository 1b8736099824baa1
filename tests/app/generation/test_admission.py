import asyncio
from typing import Any, cast

from app.generation.admission import Admission
from app.generation.engine import Prompt
from app.generation.request import EngineRequest
from tests.support.asking import sampling


def request_of(*choices: int) -> EngineRequest:
    """A request with one prompt for each number, which asks for so many choices."""
    warm = sampling(temperature=1.0)
    return EngineRequest(
        cast("Any", None), [Prompt(i, [1], warm, n) for i, n in enumerate(choices)]
    )


def admitted(admission: Admission) -> list[EngineRequest]:
    """Whose prompts may begin, in order, until none may."""
    found = []
    while (next_one := admission.admit()) is not None:
        found.append(next_one[0])
    return found


def test_requests_take_turns() -> None:
    async def scenario() -> None:
        admission, many, few = Admission(16), request_of(*[1] * 4), request_of(1, 1)
        admission.add(many)
        admission.add(few)
        assert admitted(admission) == [many, few, many, few, many, many]

    asyncio.run(scenario())


def test_one_request_has_at_most_half_of_the_slots() -> None:
    async def scenario() -> None:
        admission, greedy, late = Admission(16), request_of(*[1] * 40), request_of(*[1] * 40)
        admission.add(greedy)
        assert admitted(admission) == [greedy] * 8
        admission.add(late)
        assert admitted(admission) == [late] * 8
        admission.release(greedy, 1)
        assert admitted(admission) == [greedy]

    asyncio.run(scenario())


def test_a_large_prompt_is_not_passed_by_smaller_ones_for_ever() -> None:
    async def scenario() -> None:
        admission, small, large, last = Admission(16), request_of(1), request_of(16), request_of(1)
        for waiting in (small, large, last):
            admission.add(waiting)
        assert admitted(admission) == [small]
        admission.release(small, 1)
        assert admitted(admission) == [large]
        admission.release(large, 16)
        assert admitted(admission) == [last]

    asyncio.run(scenario())


def test_what_nobody_waits_for_is_not_begun() -> None:
    async def scenario() -> None:
        admission, left, stayed = Admission(16), request_of(1, 1), request_of(1)
        admission.add(left)
        admission.add(stayed)
        left.abandoned = True
        assert admitted(admission) == [stayed]

    asyncio.run(scenario())
