"""What one revision says after a text, greedily: the same as `/v1/completions` of it."""

from app.errors import UnknownRevision
from app.lookback.questions import Continuation
from app.query.cost import REBUILDING, tokens_at_most
from app.query.reservation import Reservation
from app.query.schemas import CompletionRequest
from app.query.service import QueryService


def at_most(prompt: str, max_tokens: int) -> tuple[int, str]:
    """What one continuation costs at most, and which field has most of it."""
    read = tokens_at_most(prompt)
    return REBUILDING + read + max_tokens, "max_tokens" if max_tokens >= read else "prompt"


async def continuation(
    query: QueryService, reservation: Reservation, prompt: str, revision: int | str, max_tokens: int
) -> Continuation:
    """The answer of a revision, or of the head.

    Raises:
        Refusal: The prompt cannot be continued, or there is no such revision.
        RateLimited: The caller has not enough tokens left.
        TooManyViews: The revision cannot be had at the moment.
    """
    request = CompletionRequest(
        model=f"{query.name}@{revision}",
        prompt=prompt,
        max_tokens=max_tokens,
        temperature=0.0,
    )
    try:
        answer = await query.complete(request, min_revision=0, reservation=reservation)
    except UnknownRevision as error:  # it speaks of a field that is not this request's
        raise UnknownRevision(revision) from error
    completion = await query.whole(answer)
    await reservation.release()
    (choice,) = completion.choices
    return Continuation(
        revision=completion.revision, text=choice.text, finish_reason=choice.finish_reason
    )
