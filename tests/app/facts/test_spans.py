from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.facts.spans import Span, are_within, merged, spans_of

_REVISIONS = st.sets(st.integers(1, 30))


def _spans(revisions: set[int]) -> list[Span]:
    """The revisions in spans, found in the plainest way."""
    changes = [
        (number, 1 if number in revisions else -1)
        for number in range(1, 32)
        if (number in revisions) != (number - 1 in revisions)
    ]
    return spans_of(changes, head=31)


def _numbers(spans: list[Span]) -> set[int]:
    return {number for span in spans for number in range(span.first, span.last + 1)}


@given(_REVISIONS)
def test_spans_hold_the_revisions_that_changes_lead_to(revisions: set[int]) -> None:
    assert _numbers(_spans(revisions)) == revisions


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        ([], []),
        ([(3, 1)], [(3, 9)]),
        ([(3, 1), (4, -1)], [(3, 3)]),
        ([(1, 1), (4, -1), (9, 1)], [(1, 3), (9, 9)]),
    ],
)
def test_what_is_still_live_ends_at_the_head(
    changes: list[tuple[int, int]], spans: list[tuple[int, int]]
) -> None:
    assert spans_of(changes, head=9) == spans


@given(_REVISIONS, _REVISIONS)
def test_merged_spans_hold_the_same_and_leave_no_seam(one: set[int], other: set[int]) -> None:
    found = merged([*_spans(one), *_spans(other)])
    assert _numbers(found) == one | other
    assert all(after.first > before.last + 1 for before, after in pairwise(found))


@given(_REVISIONS, _REVISIONS)
def test_being_within_is_being_a_subset(one: set[int], other: set[int]) -> None:
    assert are_within(_spans(one), merged(_spans(other))) == (one <= other)
