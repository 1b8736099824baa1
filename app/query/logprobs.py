"""Token scores in the two shapes that OpenAI's clients read."""

from collections.abc import Sequence

from app.generation.scored import ScoredToken, TokenText
from app.query.schemas import ChatLogprobs, ChatTokenLogprob, CompletionLogprobs, TopLogprob


def completion_logprobs(scores: Sequence[ScoredToken], offset: int = 0) -> CompletionLogprobs:
    """Parallel lists over the tokens, the first of which is ``offset`` characters in.

    Offsets count the characters of the tokens before; a character split over several tokens
    counts once for each.
    """
    offsets = []
    for score in scores:
        offsets.append(offset)
        offset += score.characters
    return CompletionLogprobs(
        tokens=[score.token.text for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(score) for score in scores],
        text_offset=offsets,
    )


def _top(score: ScoredToken) -> dict[str, float] | None:
    if score.logprob is None:
        return None
    rivals = dict[str, float]()
    # Should two tokens share a text, the more probable one speaks for it: it comes first.
    for token, logprob in (*score.rivals, (score.token, score.logprob)):
        rivals.setdefault(token.text, logprob)
    return rivals


def chat_logprobs(scores: Sequence[ScoredToken]) -> ChatLogprobs:
    """One object for each token of an answer; only generated tokens, so each has a score."""
    return ChatLogprobs(
        content=[
            ChatTokenLogprob(
                token=score.token.text,
                logprob=score.logprob,
                bytes=_bytes(score.token),
                top_logprobs=[
                    TopLogprob(token=token.text, logprob=logprob, bytes=_bytes(token))
                    for token, logprob in score.rivals
                ],
            )
            for score in scores
            if score.logprob is not None
        ]
    )


def _bytes(token: TokenText) -> list[int] | None:
    return None if token.bytes is None else list(token.bytes)
