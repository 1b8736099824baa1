"""Scored tokens in words."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from app.generation.detokenizer import decode, token_text
from app.generation.sampling import TokenScore


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
