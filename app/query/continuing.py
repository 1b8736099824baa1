"""What one revision says after a text, greedily: the same as `/v1/completions` of it."""

from app.query.lookback import Continuation
from app.query.schemas import CompletionRequest
from app.query.service import QueryService
from app.query.tab import Tab


async def continuation(
    query: QueryService, tab: Tab, prompt: str, revision: int | str, max_tokens: int
) -> Continuation:
    """The answer of a revision, or of the head.

    Raises:
        Refusal: The prompt cannot be continued, or there is no such revision.
    """
    request = CompletionRequest(
        model=f"{query.models().data[0].id}@{revision}",
        prompt=prompt,
        max_tokens=max_tokens,
        temperature=0.0,
    )
    answer = await query.complete(request, min_revision=0)
    tab.count(answer.tally)
    completion = await answer.whole()
    (choice,) = completion.choices
    return Continuation(
        revision=completion.revision, text=choice.text, finish_reason=choice.finish_reason
    )
