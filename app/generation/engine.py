"""The port between queries and whatever generates: what is asked of it, what it gives."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from transformers import PreTrainedModel

from app.generation.sampling import Sampling
from app.generation.scored import ScoredToken

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Prompt:
    """One prompt to be continued.

    Attributes:
        index: The prompt's place in its request; its choices are numbered from ``index * n``.
        tokens: What the model reads, at least one token.
        sampling: How to continue; the same sampling, index and n give the same choices.
        n: How many choices.
        score: Whether the prompt's own tokens are scored, too.
    """

    index: int
    tokens: list[int]
    sampling: Sampling
    n: int = 1
    score: bool = False

    @property
    def slots(self) -> int:
        """How many continuations it takes: greedy choices of one prompt are all the same."""
        return 1 if self.sampling.greedy or self.sampling.max_tokens == 0 else self.n


@dataclass(frozen=True)
class Chunk:
    """A further chunk of one choice; the chunks of several choices come interleaved.

    Attributes:
        choice: The choice's number in the request.
        text: What it adds to the text; never half a character, never a part of a stop text.
        scores: The tokens that were scored since the last chunk: the prompt's first, if asked.
        tokens: How many tokens were generated since the last chunk.
        finish_reason: Why the choice ends here, if it does.
    """

    choice: int
    text: str = ""
    scores: tuple[ScoredToken, ...] = ()
    tokens: int = 0
    finish_reason: FinishReason | None = None


class Engine(Protocol):
    """Something that generates from the model of a view."""

    def generate(self, model: PreTrainedModel, prompts: Sequence[Prompt]) -> AsyncGenerator[Chunk]:
        """Generate every choice of every prompt; closing the generator frees what it uses.

        Raises:
            GenerationFailed: The model failed; no further chunk comes.
        """
