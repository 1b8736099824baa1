"""Token scores in the two shapes that OpenAI's clients read."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from app.query.sampling import TokenScore
from app.query.schemas import ChatLogprobs, ChatTokenLogprob, CompletionLogprobs, TopLogprob
from app.query.text import decode, token_text


def completion_logprobs(
    tokenizer: PreTrainedTokenizerBase, scores: Sequence[TokenScore]
) -> CompletionLogprobs:
    """Parallel lists over the tokens.

    Offsets count the characters of the tokens before; a character split over several tokens
    counts once for each.
    """
    offsets, offset = [], 0
    for score in scores:
        offsets.append(offset)
        offset += len(decode(tokenizer, [score.id], special=True))
    return CompletionLogprobs(
        tokens=[token_text(tokenizer, score.id) for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(tokenizer, score) for score in scores],
        text_offset=offsets,
    )


def _top(tokenizer: PreTrainedTokenizerBase, score: TokenScore) -> dict[str, float] | None:
    if score.logprob is None:
        return None
    rivals = dict[str, float]()
    # Should two tokens share a text, the more probable one speaks for it: it comes first.
    for token, logprob in (*score.top, (score.id, score.logprob)):
        rivals.setdefault(token_text(tokenizer, token), logprob)
    return rivals


def chat_logprobs(tokenizer: PreTrainedTokenizerBase, scores: Sequence[TokenScore]) -> ChatLogprobs:
    """One object for each token of an answer; only generated tokens, so each has a score."""
    return ChatLogprobs(
        content=[
            ChatTokenLogprob(
                token=token_text(tokenizer, score.id),
                logprob=score.logprob,
                bytes=_bytes(tokenizer, score.id),
                top_logprobs=[
                    TopLogprob(
                        token=token_text(tokenizer, token),
                        logprob=logprob,
                        bytes=_bytes(tokenizer, token),
                    )
                    for token, logprob in score.top
                ],
            )
            for score in scores
            if score.logprob is not None
        ]
    )


def _bytes(tokenizer: PreTrainedTokenizerBase, token: int) -> list[int] | None:
    text = decode(tokenizer, [token], special=True)
    # A part of a character has bytes, but no tokenizer says which in a common way.
    return None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())
