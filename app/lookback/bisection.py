"""The revision under which a completion ceased to begin with what was expected."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from app.errors import ContextTooLong, InvalidField
from app.facts.spans import Span
from app.lookback.continuing import at_most, continuation
from app.lookback.questions import Continuation, Outcome
from app.query.reservation import Reservation
from app.query.service import QueryService

_SHORTEST = 16  # tokens, so that the texts before and after tell something
_SPARE = 4  # tokens of white space before what is expected


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        outcome: What became of it.
        before: What the last revision said that was seen to answer as expected.
        after: What the first one said that was seen not to.
        tried: How many revisions were asked.
    """

    outcome: Outcome
    before: Continuation | None
    after: Continuation | None
    tried: int

    @property
    def message(self) -> str:
        """The outcome in a sentence."""
        if self.before is None and self.after is not None:
            return (
                f"revision {self.after.revision} does not answer as expected either; "
                "give an earlier from, or expect what it says"
            )
        if self.after is None and self.before is not None:
            return f"revision {self.before.revision} still answers as expected"
        assert self.after is not None  # noqa: S101 - one of the ends was asked
        told = f"revision {self.after.revision} no longer answers as expected"
        if self.before is not None and self.before.revision + 1 < self.after.revision:
            return f"{told}; those after revision {self.before.revision} were withdrawn"
        return told


Ask = Callable[[int], Awaitable[Continuation]]


async def bisect(
    query: QueryService,
    reservation: Reservation,
    prompt: str,
    expect: str,
    *,
    first: int,
    last: int,
    withdrawn: Sequence[Span] = (),
) -> Found:
    """Find where the greedy completion of a prompt ceased to begin with `expect`.

    Raises:
        Refusal: The prompt cannot be continued.
        RevisionWithdrawn: One of the ends was withdrawn.
        RateLimited: The caller has not enough tokens left.
    """
    # A token holds at least one byte, so this many can hold all that is expected.
    tokens = max(_SHORTEST, len(expect.lstrip().encode()) + _SPARE)
    most_tried = 2 + (last - first).bit_length()
    each, field = at_most(prompt, tokens)
    await reservation.take(most_tried * each, "prompt" if field == "prompt" else "expect")
    ask = partial(_ask, query, reservation, prompt, tokens)
    return await search(ask, expect, first=first, last=last, withdrawn=withdrawn)


async def search(
    ask: Ask, expect: str, *, first: int, last: int, withdrawn: Sequence[Span] = ()
) -> Found:
    """Halve the revisions from `first` to `last` until two neighbours differ.

    Both ends are asked first. Of the two neighbours, the earlier answers as expected and the later
    does not, whatever lies elsewhere; it is the only such place if the answer changed once. What
    was withdrawn is passed over: then neighbours have only withdrawn revisions between them.
    """
    low = await ask(first)
    if not says(low, expect):
        return Found("not_at_start", None, low, 1)
    high = await ask(last)
    if says(high, expect):
        return Found("still_at_end", high, None, 2)
    tried = 2
    while (number := _between(low.revision, high.revision, withdrawn)) is not None:
        middle = await ask(number)
        tried += 1
        if says(middle, expect):
            low = middle
        else:
            high = middle
    return Found("found", low, high, tried)


def _between(low: int, high: int, withdrawn: Sequence[Span]) -> int | None:
    """A served revision as near to the middle of two others as there is one; None without any."""
    middle = (low + high) // 2
    for gap in withdrawn:
        if gap.first <= middle <= gap.last:
            nearest = sorted((gap.first - 1, gap.last + 1), key=lambda number: abs(number - middle))
            return next((number for number in nearest if low < number < high), None)
    return middle if low < middle else None


def says(found: Continuation, expect: str) -> bool:
    """Whether a text begins with what is expected, white space in front of either ignored."""
    return found.text.lstrip().startswith(expect.lstrip())


async def _ask(
    query: QueryService, reservation: Reservation, prompt: str, tokens: int, revision: int
) -> Continuation:
    try:
        return await continuation(query, reservation, prompt, revision, tokens)
    except ContextTooLong as error:  # it speaks of a field that is not this request's
        raise InvalidField("prompt", error.message) from error
