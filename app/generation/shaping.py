"""What a request does to the logits of one answer before a token is chosen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.generation.grammar import Grammar


@dataclass(frozen=True)
class Shape:
    """What a request asks for.

    Attributes:
        logit_bias: Token id, and what is added to its logit.
        frequency_penalty: Taken off a token's logit for each time that the answer has it.
        presence_penalty: Taken off the logit of each token that the answer has.
        grammar: The form that the answer is to have.
    """

    logit_bias: tuple[tuple[int, float], ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    grammar: Grammar | None = None


class Shaper:
    """Shapes the logits of one answer, token by token.

    Args:
        shape: What is asked for.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._grammar = None if shape.grammar is None else shape.grammar.copy()
        self._said = Counter[int]()

    def shaped(self, logits: Tensor) -> Tensor:
        """The logits to choose by, (vocabulary,): the model's own where nothing is asked for.

        Raises:
            InvalidField: It takes more than it may to tell what the grammar allows.
        """
        added = [*self._shape.logit_bias, *self._penalties()]
        if added:
            logits = logits.float().index_add(0, *_columns(added, logits.device))
        return logits if self._grammar is None else self._grammar.masked(logits)

    def note(self, token: int) -> None:
        """Take the token that was chosen."""
        self._said[token] += 1
        if self._grammar is not None:
            self._grammar.advance(token)

    def _penalties(self) -> list[tuple[int, float]]:
        frequency, presence = self._shape.frequency_penalty, self._shape.presence_penalty
        if not (frequency or presence):
            return []
        return [(token, -frequency * times - presence) for token, times in self._said.items()]


def _columns(added: Sequence[tuple[int, float]], device: torch.device) -> tuple[Tensor, Tensor]:
    tokens, amounts = zip(*added, strict=True)
    return torch.tensor(tokens, device=device), torch.tensor(amounts, device=device)
