"""Token scores in the two shapes that OpenAI's clients read."""

from collections.abc import Sequence

from app.generation.scored import ScoredWord, Word
from app.query.schemas import ChatLogprobs, ChatTokenLogprob, CompletionLogprobs, TopLogprob


def completion_logprobs(scores: Sequence[ScoredWord], offset: int = 0) -> CompletionLogprobs:
    """Parallel lists over the tokens, the first of which is ``offset`` characters in.

    Offsets count the characters of the tokens before; a character split over several tokens
    counts once for each.
    """
    offsets = []
    for score in scores:
        offsets.append(offset)
        offset += score.characters
    return CompletionLogprobs(
        tokens=[score.word.text for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(score) for score in scores],
        text_offset=offsets,
    )


def _top(score: ScoredWord) -> dict[str, float] | None:
    if score.logprob is None:
        return None
    rivals = dict[str, float]()
    # Should two tokens share a text, the more probable one speaks for it: it comes first.
    for word, logprob in (*score.rivals, (score.word, score.logprob)):
        rivals.setdefault(word.text, logprob)
    return rivals


def chat_logprobs(scores: Sequence[ScoredWord]) -> ChatLogprobs:
    """One object for each token of an answer; only generated tokens, so each has a score."""
    return ChatLogprobs(
        content=[
            ChatTokenLogprob(
                token=score.word.text,
                logprob=score.logprob,
                bytes=_bytes(score.word),
                top_logprobs=[
                    TopLogprob(token=word.text, logprob=logprob, bytes=_bytes(word))
                    for word, logprob in score.rivals
                ],
            )
            for score in scores
            if score.logprob is not None
        ]
    )


def _bytes(word: Word) -> list[int] | None:
    return None if word.bytes is None else list(word.bytes)
