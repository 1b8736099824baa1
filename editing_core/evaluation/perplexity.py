"""Perplexity on reference text: the broadest sign that a model still works."""

from math import exp

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WINDOW = 512  # tokens a sequence; windows do not overlap


def perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, *, tokens: int = 4096
) -> float:
    """Exp of the mean negative log-likelihood of the first ``tokens`` tokens of ``text``."""
    return exp(mean_loss(model, tokenizer, text, tokens=tokens))


@torch.no_grad()
def mean_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, *, tokens: int
) -> float:
    """Mean negative log-likelihood of the first ``tokens`` tokens of ``text``."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    ids = ids[:tokens]
    total, counted = 0.0, 0
    for first in range(0, len(ids) - 1, _WINDOW):
        window = torch.tensor([ids[first : first + _WINDOW]], device=model.device)
        logits = model(window, use_cache=False).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
        counted += window.shape[1] - 1
    return total / counted
