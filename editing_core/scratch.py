"""A batch on a scratch copy of the model: what the layer loop reads, and where it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit
from editing_core.giving_way import GiveWay
from editing_core.keys import KeySweep
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.solution import LayerSolution, Phases
from editing_core.sphere_directions import Directions
from editing_core.values import Value


@dataclass(frozen=True)
class Scratch:
    """Keys and residuals of one batch, layer by layer; what is written below is seen above.

    Attributes:
        packed: The model, whose edited matrices are the batch's own to spoil.
        tokenizer: Its tokenizer.
        edits: The batch.
        values: Their values; empty for methods that have none.
        layers: The edited layers, ascending; they must be taken in order.
        recipe: What decides an edit's arithmetic.
        directions: The principal directions of weights.
        device: Where edits are solved.
        phases: Where time is charged.
        give_way: Lets others go first, before each layer.
    """

    packed: PackedModel
    tokenizer: PreTrainedTokenizerBase
    edits: Sequence[Edit]
    values: Sequence[Value]
    layers: Sequence[int]
    recipe: Recipe
    directions: Directions
    device: torch.device
    phases: Phases
    give_way: GiveWay

    def keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """K and the keys at the bare prompt, both (d_in, B)."""
        self.give_way()
        with self.phases.of("keys"):
            return self._sweep.keys(layer)

    def missing(self, layer: int) -> Tensor:
        """Z − Z_cur (d_out, B), seen from the input of ``layer``; empty without values."""
        with self.phases.of("keys"):
            return self._targets - self._sweep.current(layer) if self.values else torch.empty(0, 0)

    def write(self, update: LayerSolution) -> None:
        """Add an update to its matrix, and go up to the next edited layer."""
        above = [layer for layer in self.layers if layer > update.layer]
        if not above:
            return
        with self.phases.of("keys"):
            weight = self.packed.weight(update.layer)
            weight.copy_(changed(weight, update.update))
            self._sweep.advance(update.layer, until=above[0])

    @cached_property
    def _targets(self) -> Tensor:
        """Z (d_out, B)."""
        return torch.stack([value.z for value in self.values]).to(self.device).double().T

    @cached_property
    def _sweep(self) -> KeySweep:
        return KeySweep(
            self.packed, self.tokenizer, self.edits, self.recipe, self.layers, device=self.device
        )


def changed(weight: Tensor, update: Tensor) -> Tensor:
    """The matrix with an update added, in its own dtype."""
    return weight + update.to(weight)
