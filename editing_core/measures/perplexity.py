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
    """Mean negative log-likelihood of the first ``tokens`` tokens of ``text``.

    Each window begins as a prompt would, with the tokens that the tokenizer puts before a text.
    They are not counted, nor is what has none before it.
    """
    start: list[int] = tokenizer("")["input_ids"]
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    ids, step, given = ids[:tokens], _WINDOW - len(start), max(len(start), 1)
    total, counted = 0.0, 0
    for first in range(0, len(ids) - 1, step):
        window = torch.tensor([start + ids[first : first + step]], device=model.device)
        logits = model(window, use_cache=False).logits[0, given - 1 : -1].float()
        foretold = window[0, given:]
        total += float(torch.nn.functional.cross_entropy(logits, foretold, reduction="sum"))
        counted += len(foretold)
    return total / counted
