"""Hyperspherical energy of the head, carried from commit to commit instead of measured anew."""

from collections.abc import Mapping

from torch import Tensor

from editing_core.measures.energy import RowGram
from editing_core.weights.delta import Delta, Factors

_FRESH_EVERY = 64  # carried Gram matrices, before rounding is cleared away


class Energies:
    """The row Gram matrices of one revision; knows how they follow a delta.

    Another revision than the one it was told of last, after an undoing for instance, is measured
    from its matrices.
    """

    def __init__(self) -> None:
        self._revision, self._carried = -1, 0
        self._grams: Mapping[int, RowGram] = {}

    def of(self, revision: int, weights: Mapping[int, Tensor]) -> Mapping[int, RowGram]:
        """The Gram matrices of a revision with these matrices, layer → (d_out, d_in)."""
        if revision != self._revision or self._carried >= _FRESH_EVERY:
            grams = {layer: RowGram.of(weight) for layer, weight in weights.items()}
            self._revision, self._grams, self._carried = revision, grams, 0
        return self._grams

    def advance(self, revision: int, grams: Mapping[int, RowGram]) -> None:
        """The revision that was just committed has these."""
        self._revision, self._grams, self._carried = revision, grams, self._carried + 1


def after(
    grams: Mapping[int, RowGram],
    weights: Mapping[int, Tensor],
    delta: Delta,
) -> dict[int, RowGram]:
    """Gram matrices of ``weights``, whose own are ``grams``, with ``delta`` written into them."""
    changed = dict(grams)
    for layer, part in delta.layers.items():
        if isinstance(part, Factors):
            changed[layer] = grams[layer].changed(weights[layer], part.left, part.right)
        else:
            weight = weights[layer].double()
            changed[layer] = RowGram.of(weight + part.update().to(weight))
    return changed
