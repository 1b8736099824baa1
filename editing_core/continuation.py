"""What a model says by itself after a prompt, and how much of it another state still says."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from editing_core.probe import hidden_states


@dataclass(frozen=True)
class Continuation:
    """A prompt and its greedy continuation, both as token ids; never the end of a text."""

    prompt: tuple[int, ...]
    said: tuple[int, ...]


@torch.no_grad()
def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    tokens: int,
) -> list[Continuation]:
    """The ``tokens`` most probable tokens after each prompt, one after another."""
    if not prompts:
        return []
    rows: list[list[int]] = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    width = max(map(len, rows))
    padding = [[0] * (width - len(row)) for row in rows]  # on the left: all rows go on together
    ids = [pad + row for pad, row in zip(padding, rows, strict=True)]
    mask = [pad + [1] * len(row) for pad, row in zip(padding, rows, strict=True)]
    generated = model.generate(
        torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=0),
    )
    said: list[list[int]] = generated[:, width:].tolist()
    return [Continuation(tuple(row), tuple(new)) for row, new in zip(rows, said, strict=True)]


@torch.no_grad()
def shares_kept(model: PreTrainedModel, expected: Sequence[Continuation]) -> list[float]:
    """The share of each continuation's tokens that are the arg-max at their places.

    Teacher-forced: a token counts where it follows what was said before it.
    """
    if not expected:
        return []
    hidden = hidden_states(model, [[*one.prompt, *one.said[:-1]] for one in expected])
    shares = []
    for one, states in zip(expected, hidden, strict=True):
        start = len(one.prompt) - 1
        read = states[start : start + len(one.said)]
        best = model.get_output_embeddings()(read).argmax(dim=-1)  # (T,)
        ids = torch.tensor(one.said, device=best.device)
        shares.append(float((best == ids).float().mean()))
    return shares
