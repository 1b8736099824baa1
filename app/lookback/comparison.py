"""One text continued under several revisions: `/v1/compare`."""

from app.lookback.continuing import at_most, continuation
from app.lookback.questions import CompareRequest, Comparison
from app.query.reservation import Reservation
from app.query.service import QueryService


async def compare(
    query: QueryService, reservation: Reservation, request: CompareRequest
) -> Comparison:
    """What each revision says, each asked once.

    Raises:
        Refusal: The prompt cannot be continued, or a revision does not exist.
        RateLimited: The caller has not enough tokens left.
    """
    # A number too high is found before anything is generated in vain.
    names = sorted(set(request.revisions), key=lambda name: 1 if name == "head" else -name)
    tokens, field = at_most(request.prompt, request.max_tokens)
    await reservation.take(len(names) * tokens, field)
    found = {
        name: await continuation(query, reservation, request.prompt, name, request.max_tokens)
        for name in names
    }
    return Comparison(
        prompt=request.prompt,
        revisions={str(name): found[name] for name in dict.fromkeys(request.revisions)},
    )
