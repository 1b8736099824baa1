"""Scored tokens with their texts."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from app.generation.detokenizer import decode, token_text
from app.generation.sampling import TokenScore


@dataclass(frozen=True)
class TokenText:
    """The text of one token.

    Attributes:
        text: Distinct for distinct tokens.
        bytes: Of its text; None for a part of a character, whose bytes no tokenizer tells.
    """

    text: str
    bytes: tuple[int, ...] | None


@dataclass(frozen=True)
class ScoredToken:
    """A scored token with its text, so that who sends it on needs no tokenizer.

    Attributes:
        token: The token itself.
        logprob: None for the first token of a prompt, which nothing predicts.
        characters: How many it counts for in offsets.
        rivals: The most probable tokens with their log-probabilities, best first.
    """

    token: TokenText
    logprob: float | None
    characters: int
    rivals: tuple[tuple[TokenText, float], ...]


def scored_token(tokenizer: PreTrainedTokenizerBase, score: TokenScore) -> ScoredToken:
    """A score with texts in place of token ids."""
    return ScoredToken(
        token=_token_text(tokenizer, score.id),
        logprob=score.logprob,
        characters=len(decode(tokenizer, [score.id], special=True)),
        rivals=tuple((_token_text(tokenizer, token), logprob) for token, logprob in score.top),
    )


def _token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> TokenText:
    text = decode(tokenizer, [token], special=True)
    known = "\N{REPLACEMENT CHARACTER}" not in text
    return TokenText(token_text(tokenizer, token), tuple(text.encode()) if known else None)
