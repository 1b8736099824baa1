"""Edited matrices in the two forms that they are needed in."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import weights_digest


@dataclass(frozen=True)
class Edited:
    """The edited matrices as base and exact sum; what follows from these is computed once.

    Attributes:
        weights: Base and exact sum.
    """

    weights: Weights

    def changed(self, delta: Delta) -> "Edited":
        """The same with one more delta."""
        return Edited(self.weights.changed(add=[delta]))

    @cached_property
    def matrices(self) -> dict[int, Tensor]:
        """As the model has them, layer → (d_out, d_in)."""
        return self.weights.materialise()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the matrices, as the ledger records it."""
        return weights_digest(self.matrices)
