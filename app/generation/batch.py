"""Continuations of one model's prompts, a token of each at every step.

Sequences of unlike length are padded on the left, and the padding is masked out. Those of one
length, a single one above all, take the very path of an ordinary `generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel

from app.generation.prefill import Prefill

_POSITIONS = 16384  # cached by one batch at most, padding included; a longer sequence is alone


@dataclass(frozen=True)
class _Slot:
    """Where a sequence is in its batch: how much of it is real, how long it may become."""

    length: int
    longest: int


class Batch:
    """The sequences that are stepped together; their order is that in which they joined."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._cache = DynamicCache()
        self._slots: list[_Slot] = []

    def __len__(self) -> int:
        return len(self._slots)

    def room(self, model: PreTrainedModel, longest: int) -> int:
        """How many sequences of this model, which may become so long, may join."""
        if model is not self._model:
            return 0
        widest = max([longest, *(slot.longest for slot in self._slots)])
        return max(0, _POSITIONS // widest - len(self))

    @torch.inference_mode()
    def join(self, prefill: Prefill, longest: int, count: int = 1) -> None:
        """Take in sequences that have all read the same prompt."""
        length = prefill.cache.get_seq_length()
        width = max(self._width, length)
        joined = [
            [_widened(states, width).expand(count, -1, -1, -1) for states in new]
            for new in _layers(prefill.cache)
        ]
        if self._slots:
            joined = [
                [torch.cat([_widened(old, width), new]) for old, new in zip(*layer, strict=True)]
                for layer in zip(_layers(self._cache), joined, strict=True)
            ]
        self._cache = DynamicCache([(keys, values) for keys, values in joined])
        self._slots += [_Slot(length, longest)] * count

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Let every sequence read one more token.

        Args:
            tokens: One a sequence.

        Returns:
            What the model says comes next, (batch, vocabulary).
        """
        device = self._model.device
        lengths = torch.tensor([slot.length for slot in self._slots], device=device)
        width, mask = self._width, None
        if any(slot.length < width for slot in self._slots):
            positions = torch.arange(width + 1, device=device)
            mask = (positions >= (width - lengths)[:, None]).long()  # (batch, width + 1)
        output = self._model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            past_key_values=self._cache,
            attention_mask=mask,
            position_ids=lengths[:, None],
            use_cache=True,
        )
        self._slots = [_Slot(slot.length + 1, slot.longest) for slot in self._slots]
        logits: Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def keep(self, kept: Sequence[int]) -> None:
        """Let all other sequences go, and the padding that only they needed."""
        if len(kept) == len(self):
            return
        self._slots = [self._slots[index] for index in kept]
        if not kept:
            self._cache = DynamicCache()
            return
        index = torch.tensor(kept, device=self._model.device)
        width = max(slot.length for slot in self._slots)
        self._cache = DynamicCache(
            [
                (keys[index, :, -width:], values[index, :, -width:])
                for keys, values in _layers(self._cache)
            ]
        )

    @property
    def _width(self) -> int:
        return self._cache.get_seq_length() if self._slots else 0


class _Layer(Protocol):
    # Declared more loosely by transformers, which has layers of other kinds, too.
    keys: Tensor
    values: Tensor


def _layers(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, (batch, heads, T, d)."""
    return [(layer.keys, layer.values) for layer in cast("list[_Layer]", cache.layers)]


def _widened(states: Tensor, width: int) -> Tensor:
    """States (batch, heads, T, d) with zeros before them, so many positions in all."""
    missing = width - states.shape[-2]
    return pad(states, (0, 0, missing, 0)) if missing else states
