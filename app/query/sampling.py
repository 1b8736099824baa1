"""How the next token is chosen, and when a choice has ended."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, StoppingCriteria

from app.query.text import Detokenizer

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

    @property
    def greedy(self) -> bool:
        """Whether every choice is the arg-max, so that all choices are the same."""
        return self.temperature < _COLDEST


@dataclass(frozen=True)
class TokenScore:
    """One token with its log-probability under the model, before temperature and top_p."""

    id: int
    logprob: float | None
    """None for the first token of a prompt, which nothing predicts."""
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


class Sampler(LogitsProcessor):
    """Chooses each next token itself and leaves `generate` only one finite score to pick.

    `generate` can draw from the global random state alone, which all threads share. Here every
    row draws from its own generator on the CPU: the arg-max of p_i / e_i with e_i exponential is
    a sample of p (the race of exponential clocks), so a seed gives the same tokens on any device
    and beside any other request.
    """

    def __init__(self, sampling: Sampling, generators: Sequence[torch.Generator]) -> None:
        self._sampling = sampling
        self._generators = generators
        self.scores: list[list[TokenScore]] = [[] for _ in generators]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Minus infinity everywhere but at the chosen token of each row."""
        chosen = scores.argmax(-1) if self._sampling.greedy else self._draw(scores)
        if self._sampling.top_logprobs is not None:
            recorded = token_scores(scores, chosen, self._sampling.top_logprobs)
            for row, score in zip(self.scores, recorded, strict=True):
                row.append(score)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def _draw(self, scores: torch.Tensor) -> torch.Tensor:
        warped = keep_nucleus(scores / self._sampling.temperature, self._sampling.top_p)
        clocks = torch.stack(
            [
                torch.empty(scores.shape[1]).exponential_(generator=generator)
                for generator in self._generators
            ]
        )  # (rows, vocabulary)
        return (warped - clocks.log().to(warped.device)).argmax(-1)


def keep_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Minus infinity for all but the fewest most probable tokens that make up `top_p`.

    Args:
        logits: (rows, vocabulary).
        top_p: In (0, 1]; 1 keeps all. The most probable token is always kept.
    """
    if top_p >= 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    beyond = p.cumsum(-1) - p >= top_p  # what came before is enough already
    return logits.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)


class Ending(StoppingCriteria):
    """Notes after how many tokens each row ended, by an end token or by a stop text."""

    def __init__(
        self, detokenizer: Detokenizer, rows: int, end_tokens: frozenset[int], stop: tuple[str, ...]
    ) -> None:
        self._detokenizer = detokenizer
        self._end_tokens = end_tokens
        self._stop = stop
        self.lengths: list[int | None] = [None] * rows

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: object,  # noqa: ARG002 - the interface passes it
        **kwargs: object,  # noqa: ARG002
    ) -> torch.Tensor:
        """Which rows have ended, as booleans (rows,)."""
        for row, tokens in enumerate(input_ids[:, self._detokenizer.prompt_length :].tolist()):
            if self.lengths[row] is None and self._ends(tokens):
                self.lengths[row] = len(tokens)
        return torch.tensor(
            [length is not None for length in self.lengths], device=input_ids.device
        )

    def _ends(self, tokens: list[int]) -> bool:
        if tokens[-1] in self._end_tokens:
            return True
        if not self._stop:
            return False
        text = self._detokenizer.text(tokens)
        return any(stop in text for stop in self._stop)
