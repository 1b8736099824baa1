"""What a query may cost at most, by what is known before any of its work is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.errors import InvalidField
from app.generation.sampling import Sampling

#: what rebuilding a revision counts for, in tokens: it takes as long as reading some hundreds
REBUILDING = 500

_MARKS = 2  # tokens that a tokenizer may put around a text
_TURN = 16  # tokens that a chat template may put around a message
_TEMPLATE = 64  # and around all of them
_MAX_ECHO_CHARS = 4 * 2**20


@dataclass(frozen=True)
class QueryLimits:
    """How long prompts and answers may be.

    Attributes:
        prompt_chars: Longest text of one prompt.
        prompt_tokens: The same in tokens.
        scores: Most log-probabilities in one answer.
        cuts_answers: Whether an answer is cut to the model's context, instead of refused.
    """

    prompt_chars: int
    prompt_tokens: int
    scores: int
    cuts_answers: bool = False


def tokens_at_most(prompt: str | Sequence[int]) -> int:
    """How many tokens a prompt has at most: no token of a text is less than a byte of it."""
    return len(prompt.encode()) + _MARKS if isinstance(prompt, str) else len(prompt)


def conversation_at_most(texts: Iterable[str]) -> int:
    """The same of a conversation, whose template is usually short."""
    return sum(len(text.encode()) + _TURN for text in texts) + _TEMPLATE


def check_scores(sampling: Sampling, positions: int, n: int, most: int) -> None:
    """Make sure that an answer does not consist of too many log-probabilities.

    Args:
        sampling: How many alternatives are told at each position, if any are.
        positions: Tokens of one choice of each prompt that are scored.
        n: Choices of each prompt; each tells all of its positions, as OpenAI's do.
        most: How many log-probabilities an answer may have.

    Raises:
        InvalidField: It does.
    """
    if sampling.top_logprobs is None:
        return
    scores = positions * n * (sampling.top_logprobs + 1)
    if scores > most:
        raise InvalidField(
            "logprobs",
            f"{positions} positions × {n} choices × (logprobs + 1) are {scores} scores; at most "
            f"{most} are answered at a time (ERRATA_MAX_SCORES), so ask for fewer of either",
        )


def check_echo(characters: int, n: int) -> None:
    """Make sure that an answer does not repeat too much of what was asked.

    Raises:
        InvalidField: It does.
    """
    if characters * n > _MAX_ECHO_CHARS:
        raise InvalidField(
            "echo",
            f"{characters} characters of prompts {n} times are too many to be echoed; at most "
            f"{_MAX_ECHO_CHARS} are, so send fewer prompts at a time",
        )
