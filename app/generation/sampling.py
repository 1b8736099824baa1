"""How the next token is chosen."""

import hashlib
from dataclasses import dataclass, field

import torch

from app.generation.shaping import Shape, Shaper

_COLDEST = 1e-5  # below this temperature a draw is the arg-max in float32 anyway
_LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity


@dataclass(frozen=True)
class Sampling:
    """What a request asks of the sampler."""

    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...]
    seed: int
    top_logprobs: int | None
    """How many alternatives to record at each position; None records no scores at all."""
    shape: Shape = field(default_factory=Shape)

    @property
    def greedy(self) -> bool:
        """Whether every choice is the arg-max, so that all choices are the same."""
        return self.temperature < _COLDEST


@dataclass(frozen=True)
class TokenScore:
    """One token with its log-probability under the model, before temperature and top_p."""

    id: int
    logprob: float | None
    """None if it was not recorded, and for the first token of a prompt, which nothing predicts."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability), most probable first."""


def token_scores(logits: torch.Tensor, chosen: torch.Tensor, top_logprobs: int) -> list[TokenScore]:
    """Scores of the chosen tokens.

    Args:
        logits: What the model says at each position, (positions, vocabulary).
        chosen: The token ids that followed, (positions,).
        top_logprobs: How many alternatives to keep at each position.
    """
    logprobs = logits.float().log_softmax(-1).clamp(min=_LOWEST_LOGPROB)  # (T, vocabulary)
    of_chosen = logprobs.gather(1, chosen[:, None]).squeeze(1).tolist()
    top = logprobs.topk(min(top_logprobs, logprobs.shape[1]))
    rows = zip(chosen.tolist(), of_chosen, top.indices.tolist(), top.values.tolist(), strict=True)
    return [
        TokenScore(token, logprob, tuple(zip(ids, values, strict=True)))
        for token, logprob, ids, values in rows
    ]


def choice_generator(seed: int, prompt: int, choice: int) -> torch.Generator:
    """Random numbers that belong to one choice of one prompt, whatever runs beside it."""
    digest = hashlib.sha256(f"{seed}:{prompt}:{choice}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Sampler:
    """Chooses one choice's tokens, each from what the model says comes next.

    A draw takes its random numbers from the choice's own generator on the CPU: the arg-max of
    p_i / e_i with e_i exponential is a sample of p (the race of exponential clocks), so a seed
    gives the same tokens on any device and beside any other choice.
    """

    def __init__(self, sampling: Sampling, generator: torch.Generator) -> None:
        self._sampling = sampling
        self._generator = generator
        self._shaper = Shaper(sampling.shape)

    def choose(self, logits: torch.Tensor) -> TokenScore:
        """The next token; with its score by the model itself, if the request records scores.

        Args:
            logits: (vocabulary,).

        Raises:
            InvalidField: It takes more than it may to tell what the answer's grammar allows.
        """
        shaped = self._shaper.shaped(logits)
        chosen = shaped.argmax() if self._sampling.greedy else self._draw(shaped.float())
        self._shaper.note(int(chosen))
        if self._sampling.top_logprobs is None:
            return TokenScore(int(chosen), None)
        (score,) = token_scores(logits[None], chosen[None], self._sampling.top_logprobs)
        return score

    def _draw(self, logits: torch.Tensor) -> torch.Tensor:
        warped = keep_nucleus(logits[None] / self._sampling.temperature, self._sampling.top_p)[0]
        clocks = torch.empty(len(warped)).exponential_(generator=self._generator)
        return (warped - clocks.log().to(warped.device)).argmax()


def keep_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Minus infinity for all but the fewest most probable tokens that make up `top_p`.

    Args:
        logits: (rows, vocabulary).
        top_p: In [0, 1]; 1 keeps all. The most probable token is always kept.
    """
    if top_p >= 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    beyond = p.cumsum(-1) - p >= top_p  # what came before is enough already
    beyond[:, 0] = False
    return logits.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)
