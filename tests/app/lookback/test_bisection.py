import asyncio
from collections.abc import Sequence
from math import ceil, log2

import pytest

from app.facts.spans import Span
from app.lookback.bisection import Found, says, search
from app.lookback.questions import Continuation


def _said(revision: int, text: str) -> Continuation:
    return Continuation(revision=revision, text=text, finish_reason="length")


def _searched(
    texts: Sequence[str], first: int = 0, withdrawn: Sequence[Span] = ()
) -> tuple[Found, list[int]]:
    """What a search for "yes" finds, and whom it asked."""
    asked = list[int]()

    async def ask(revision: int) -> Continuation:
        asked.append(revision)
        return _said(revision, texts[revision])

    searching = search(ask, "yes", first=first, last=len(texts) - 1, withdrawn=withdrawn)
    return asyncio.run(searching), asked


@pytest.mark.parametrize("count", [2, 3, 4, 9, 17, 100])
def test_the_first_revision_that_says_otherwise_is_found_wherever_it_is(count: int) -> None:
    for lost in range(1, count):
        found, asked = _searched(["yes"] * lost + ["no"] * (count - lost))
        assert found.outcome == "found"
        assert found.before == _said(lost - 1, "yes")
        assert found.after == _said(lost, "no")
        assert found.tried == len(asked) == len(set(asked)) <= 2 + ceil(log2(count - 1))


def test_both_ends_are_asked_first() -> None:
    _, asked = _searched(["yes", "yes", "no", "no", "no"])
    assert asked[:2] == [0, 4]


def test_a_start_that_does_not_say_it_ends_the_search() -> None:
    found, asked = _searched(["no", "yes", "no"])
    assert (found.outcome, found.before, found.after) == ("not_at_start", None, _said(0, "no"))
    assert (found.tried, asked) == (1, [0])
    assert found.message.startswith("revision 0 does not answer as expected either")


def test_an_end_that_still_says_it_ends_the_search() -> None:
    found, asked = _searched(["yes", "no", "yes"])
    assert (found.outcome, found.before, found.after) == ("still_at_end", _said(2, "yes"), None)
    assert (found.tried, asked) == (2, [0, 2])
    assert found.message == "revision 2 still answers as expected"


def test_an_answer_that_came_and_went_is_lost_where_two_neighbours_differ() -> None:
    texts = ["yes", "no", "yes", "yes", "no", "no", "yes", "no"]
    found, _ = _searched(texts)
    assert found.before is not None
    assert found.after is not None
    assert found.after.revision == found.before.revision + 1
    assert (texts[found.before.revision], texts[found.after.revision]) == ("yes", "no")


@pytest.mark.parametrize("gaps", [[(1, 1)], [(3, 5)], [(1, 8)], [(1, 2), (4, 4), (6, 8)]])
@pytest.mark.parametrize("lost", range(1, 10))
def test_withdrawn_revisions_are_not_asked(gaps: list[tuple[int, int]], lost: int) -> None:
    withdrawn = [Span(*gap) for gap in gaps]
    served = [n for n in range(10) if not any(a <= n <= b for a, b in withdrawn)]
    found, asked = _searched(["yes"] * lost + ["no"] * (10 - lost), withdrawn=withdrawn)
    assert set(asked) <= set(served)
    before, after = max(n for n in served if n < lost), min(n for n in served if n >= lost)
    assert found.before == _said(before, "yes")
    assert found.after == _said(after, "no")
    assert ("were withdrawn" in found.message) == (before + 1 < after)


def test_white_space_in_front_is_no_matter_and_everything_else_is() -> None:
    assert says(_said(0, " \nEnglish, they say"), "  English")
    assert not says(_said(0, " english"), "English")
    assert not says(_said(0, " Old English"), "English")
