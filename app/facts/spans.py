"""Spans of revisions: which of them hold an edit, and which were withdrawn. Knows no database."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Neighbouring revisions, both ends among them."""

    first: int
    last: int


def spans_of(changes: Iterable[tuple[int, int]], *, head: int) -> list[Span]:
    """The revisions that hold an edit.

    Args:
        changes: Revision and +1 where the edit became live in it, -1 where it ceased to be; in
            order.
        head: The newest revision, where what is still live ends.
    """
    found, since = list[Span](), None
    for revision, change in changes:
        if change > 0:
            since = revision if since is None else since
        elif since is not None:
            found.append(Span(since, revision - 1))
            since = None
    return found if since is None else [*found, Span(since, head)]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same revisions in as few spans as possible, in order."""
    found = list[Span]()
    for span in sorted(spans):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def are_within(spans: Iterable[Span], ranges: Sequence[Span]) -> bool:
    """Whether every one of these revisions lies in one of the merged ranges."""
    return all(
        at >= 0 and span.last <= ranges[at].last
        for span in spans
        for at in [bisect_right(ranges, span.first, key=lambda found: found.first) - 1]
    )
