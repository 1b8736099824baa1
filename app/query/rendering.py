"""Token scores in the two shapes that OpenAI's clients read."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from app.generation.detokenizer import decode, token_text
from app.generation.sampling import TokenScore
from app.query.schemas import ChatLogprobs, ChatTokenLogprob, CompletionLogprobs, TopLogprob


@dataclass(frozen=True)
class Word:
    """A token in words.

    Attributes:
        text: Distinct for distinct tokens.
        bytes: Of its text; None for a part of a character, whose bytes no tokenizer tells.
    """

    text: str
    bytes: tuple[int, ...] | None


@dataclass(frozen=True)
class ScoredWord:
    """A scored token in words, so that who sends it on needs no tokenizer.

    Attributes:
        word: The token itself.
        logprob: None for the first token of a prompt, which nothing predicts.
        characters: How many it counts for in offsets.
        rivals: The most probable tokens with their log-probabilities, best first.
    """

    word: Word
    logprob: float | None
    characters: int
    rivals: tuple[tuple[Word, float], ...]


def in_words(tokenizer: PreTrainedTokenizerBase, score: TokenScore) -> ScoredWord:
    """A score with texts in place of token ids."""
    return ScoredWord(
        word=_word(tokenizer, score.id),
        logprob=score.logprob,
        characters=len(decode(tokenizer, [score.id], special=True)),
        rivals=tuple((_word(tokenizer, token), logprob) for token, logprob in score.top),
    )


def _word(tokenizer: PreTrainedTokenizerBase, token: int) -> Word:
    text = decode(tokenizer, [token], special=True)
    known = "\N{REPLACEMENT CHARACTER}" not in text
    return Word(token_text(tokenizer, token), tuple(text.encode()) if known else None)


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
