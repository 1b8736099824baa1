"""What a model says by itself after a prompt, and how much of it another state still says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from editing_core.beginning import begun_once
from editing_core.giving_way import GiveWay, go_on
from editing_core.measures.probe import hidden_states
from editing_core.reach import Reach

_ROWS = 32  # rows a forward pass: a batch may have a thousand edits with ten prompts each


@dataclass(frozen=True)
class Continuation:
    """A prompt and its greedy continuation, both as token ids."""

    prompt: tuple[int, ...]
    said: tuple[int, ...]


def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    tokens: int,
    give_way: GiveWay = go_on,
) -> list[Continuation]:
    """The most probable tokens after each prompt, one after another, up to the text's end.

    A prompt that leaves the model too few positions is read from a later token on.

    Args:
        model: What goes on.
        tokenizer: Its tokenizer.
        prompts: What it goes on from; they need not be of one length.
        tokens: Most of them after each prompt.
        give_way: Lets others go first, after some prompts and before the next.
    """
    positions = Reach.of(model).positions
    room = None if positions is None else positions - tokens
    rows = [begun_once(tokenizer, tokenizer(prompt)["input_ids"]) for prompt in prompts]
    rows = [row if room is None else row[-room:] for row in rows]
    found: list[Continuation] = []
    for first in range(0, len(rows), _ROWS):
        give_way()
        found += _continued(model, rows[first : first + _ROWS], tokens)
    return found


@torch.no_grad()
def _continued(
    model: PreTrainedModel, rows: Sequence[list[int]], tokens: int
) -> list[Continuation]:
    width = max(map(len, rows))
    padding = [[0] * (width - len(row)) for row in rows]  # on the left: all rows go on together
    ids = [pad + row for pad, row in zip(padding, rows, strict=True)]
    mask = [pad + [1] * len(row) for pad, row in zip(padding, rows, strict=True)]
    generate = cast("Callable[..., Tensor]", model.generate)
    generated = generate(
        torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=0),
    )
    said: list[list[int]] = generated[:, width:].tolist()
    ends = model.generation_config.eos_token_id
    return [
        Continuation(tuple(row), _up_to_end(new, ends)) for row, new in zip(rows, said, strict=True)
    ]


def _up_to_end(said: Sequence[int], ends: int | Sequence[int] | None) -> tuple[int, ...]:
    """The tokens up to the first that ends a text: what follows is padding."""
    known = {ends} if isinstance(ends, int) else set(ends or ())
    size = next((place for place, token in enumerate(said, start=1) if token in known), len(said))
    return tuple(said[:size])


def shares_kept(
    model: PreTrainedModel, expected: Sequence[Continuation], give_way: GiveWay = go_on
) -> list[float]:
    """The share of each continuation's tokens that are the arg-max at their places.

    Teacher-forced: a token counts where it follows what was said before it. ``give_way`` is
    called between two forward passes.
    """
    shares: list[float] = []
    for first in range(0, len(expected), _ROWS):
        give_way()
        shares += _shares(model, expected[first : first + _ROWS])
    return shares


@torch.no_grad()
def _shares(model: PreTrainedModel, expected: Sequence[Continuation]) -> list[float]:
    hidden = hidden_states(model, [[*one.prompt, *one.said[:-1]] for one in expected])
    shares = []
    for one, states in zip(expected, hidden, strict=True):
        start = len(one.prompt) - 1
        read = states[start : start + len(one.said)]
        best = model.get_output_embeddings()(read).argmax(dim=-1)  # (T,)
        ids = torch.tensor(one.said, device=best.device)
        shares.append(float((best == ids).float().mean()))
    return shares
