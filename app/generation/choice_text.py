"""From the tokens of one choice to its text, and to its end."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.generation.detokenizer import Detokenizer
from app.generation.engine import FinishReason


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The token ids after which the model has nothing more to say."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list) else frozenset([int(ids)])


@dataclass(frozen=True)
class NewText:
    """What one more token adds to a choice's text, and why the choice ends, if it does."""

    text: str
    finish_reason: FinishReason | None


class ChoiceText:
    """One choice's text as it grows; what may be the beginning of a stop text is held back.

    Args:
        detokenizer: Of this choice alone.
        ends: Tokens that end it and stay out of its text.
        stop: Texts that end it and stay out of it.
        max_tokens: Tokens after which it ends at latest.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        ends: frozenset[int],
        stop: tuple[str, ...],
        max_tokens: int,
    ) -> None:
        self._detokenizer = detokenizer
        self._ends = ends
        self._stop = stop
        self._left = max_tokens
        self._held = ""

    def add(self, token: int) -> NewText:
        """Take the next token."""
        self._left -= 1
        ended = token in self._ends
        self._held += "" if ended else self._detokenizer.add(token)
        last = ended or self._left == 0
        if last:
            self._held += self._detokenizer.rest()
        cuts = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if cuts:
            return NewText(self._held[: min(cuts)], "stop")
        if last:
            return NewText(self._held, "stop" if ended else "length")
        certain = len(self._held) - self._uncertain()
        text, self._held = self._held[:certain], self._held[certain:]
        return NewText(text, None)

    def _uncertain(self) -> int:
        """How many of the last characters a stop text may begin with."""
        longest = min(len(self._held), max(map(len, self._stop), default=1) - 1)
        for length in range(longest, 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0
