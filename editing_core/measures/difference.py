"""How far two sets of live factors are apart, in every edited matrix.

A difference of rank-one factors is never multiplied out: ‖U Vᵀ‖_F² = tr((UᵀU)(VᵀV)), a sum over
pairs of factors. Changes that were made without factors are matrices to begin with; with their
sum D, ‖D + U Vᵀ‖_F² = ‖D‖_F² + 2 tr(Uᵀ D V) + ‖U Vᵀ‖_F².
"""

from math import sqrt

import torch
from torch import Tensor

from editing_core.weights.delta import Delta, Dense, Factors

_AT_ONCE = 512  # factors of a product of pairs; bounds memory, whatever their number


class Difference:
    """Σ of deltas, each added or taken away; knows its norms."""

    def __init__(self) -> None:
        self._layers: dict[int, _Sum] = {}

    def add(self, delta: Delta) -> None:
        """Count a delta that is live in the second set alone."""
        self._accumulate(delta, 1)

    def subtract(self, delta: Delta) -> None:
        """Count a delta that is live in the first set alone."""
        self._accumulate(delta, -1)

    def norms(self) -> dict[int, float]:
        """Layer → Frobenius norm; layers that no delta touched are left out."""
        return {layer: total.norm() for layer, total in sorted(self._layers.items())}

    def _accumulate(self, delta: Delta, sign: int) -> None:
        for layer, part in delta.layers.items():
            self._layers.setdefault(layer, _Sum()).accumulate(part, sign)


class _Sum:
    """The sum in one matrix: signed factors, and what never had any."""

    def __init__(self) -> None:
        self._lefts: list[Tensor] = []  # (b, d_out) float32, exact on the grid
        self._rights: list[Tensor] = []  # (b, d_in)
        self._matrix: Tensor | None = None  # (d_out, d_in) float64

    def accumulate(self, part: Factors | Dense, sign: int) -> None:
        if isinstance(part, Dense):
            change = sign * part.update()
            self._matrix = change if self._matrix is None else self._matrix + change
        else:
            self._lefts.append(sign * part.left)
            self._rights.append(part.right)

    def norm(self) -> float:
        squared = 0.0 if self._matrix is None else float((self._matrix**2).sum())
        if self._lefts:
            left, right = torch.cat(self._lefts), torch.cat(self._rights)
            blocks = [
                (left[first : first + _AT_ONCE], right[first : first + _AT_ONCE])
                for first in range(0, len(left), _AT_ONCE)
            ]
            for u, v in blocks:
                squared += 2 * self._crossed(u.double(), v.double())
                squared += sum(_pairs(u.double(), v.double(), *other) for other in blocks)
        return sqrt(max(squared, 0.0))  # what cancels may leave less than nothing

    def _crossed(self, left: Tensor, right: Tensor) -> float:
        """tr(Uᵀ D V) of a block of factors."""
        if self._matrix is None:
            return 0.0
        return float(((right @ self._matrix.T) * left).sum())


def _pairs(left: Tensor, right: Tensor, other_left: Tensor, other_right: Tensor) -> float:
    """Σ of ⟨u vᵀ, u' v'ᵀ⟩ = (u·u')(v·v') over all pairs of a factor of either block."""
    return float(((left @ other_left.double().T) * (right @ other_right.double().T)).sum())
