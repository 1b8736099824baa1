"""How strongly a model says a target: probability, rank and arg-max under teacher forcing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editing_core.edit import target_tokens

_ROWS = 16  # rows a forward pass; bounds the logits in memory


@dataclass(frozen=True)
class Score:
    """What a model makes of a target after a prompt.

    Attributes:
        logprob: Mean log-probability of the target's tokens, teacher-forced.
        rank: Place of the target's first token among all tokens; 1 is the arg-max.
        argmax: Text of the most probable first token.
        said: Share of the target's tokens that are the arg-max at their places.
    """

    logprob: float
    rank: int
    argmax: str
    said: float

    @property
    def match(self) -> bool:
        """Whether every target token is the arg-max at its place."""
        return self.said == 1.0

    @property
    def p(self) -> float:
        """Geometric mean of the target tokens' probabilities."""
        return exp(self.logprob)


@torch.no_grad()
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[tuple[str, str]],
) -> list[Score]:
    """The score of each (prompt, target), in order.

    Raises:
        InvalidEdit: A target has no tokens.
    """
    scores: list[Score] = []
    for first in range(0, len(items), _ROWS):
        scores += _score_rows(model, tokenizer, items[first : first + _ROWS])
    return scores


def _score_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[tuple[str, str]],
) -> list[Score]:
    prompts: list[list[int]] = [tokenizer(prompt)["input_ids"] for prompt, _ in items]
    targets = [target_tokens(tokenizer, target) for _, target in items]
    rows = [prompt + target[:-1] for prompt, target in zip(prompts, targets, strict=True)]
    width = max(map(len, rows))
    device = model.device
    # Right padding: causal attention keeps it out of every position that is read.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # (R, width, d)
    scores = []
    for r, target in enumerate(targets):
        start = len(prompts[r]) - 1
        read = hidden[r, start : start + len(target)]
        log_p = model.get_output_embeddings()(read).float().log_softmax(dim=-1)  # (T, vocabulary)
        scores.append(_score(log_p, target, tokenizer))
    return scores


def _score(log_p: Tensor, target: list[int], tokenizer: PreTrainedTokenizerBase) -> Score:
    ids = torch.tensor(target, device=log_p.device)
    spoken = log_p.gather(1, ids[:, None])[:, 0]  # (T,)
    best = log_p.argmax(dim=1)
    return Score(
        logprob=float(spoken.mean()),
        rank=int((log_p[0] > spoken[0]).sum()) + 1,
        argmax=str(tokenizer.decode([int(best[0])])),
        said=float((best == ids).float().mean()),
    )
