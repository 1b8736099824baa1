"""Hyperspherical energy: how evenly a matrix's neurons spread over the sphere.

HE(W) = Σ_{i≠j} ‖ŵ_i − ŵ_j‖⁻¹ over unit rows ŵ (Liu et al. 2018, s = 1); reported relative to
n(n−1)/√2, its value for random rows in many dimensions (Liu et al., arXiv 1805.09298).

All it needs of W is the Gram matrix of its rows, which follows an update of low rank at a small
part of the cost of making it anew (§5.2).
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Self

import torch
from torch import Tensor

_ROWS = 512  # rows of the Gram matrix at a time; bounds memory
_CLOSEST = 1e-12  # squared distance given to equal rows, so that energy stays finite


@dataclass(frozen=True)
class RowGram:
    """G = W Wᵀ of a matrix W (n, d_in), on the device of that matrix.

    Attributes:
        products: G (n, n) in float64.
    """

    products: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, weight: Tensor) -> Self:
        """From the matrix itself: 2 n² d_in FLOPs."""
        rows = weight.double()
        return cls(rows @ rows.T)

    @torch.no_grad()
    def changed(self, weight: Tensor, left: Tensor, right: Tensor) -> "RowGram":
        """The Gram matrix of W + Σ left ⊗ right: 2 n d_in B + 4 n² B FLOPs.

        G' = G + (W Fᵀ) L + Lᵀ (W Fᵀ)ᵀ + Lᵀ (F Fᵀ) L for B factors L = left, F = right.

        Args:
            weight: W (n, d_in), what this is the Gram matrix of.
            left: (B, n), on any device.
            right: (B, d_in), on any device.
        """
        left, right = left.to(self.products), right.to(self.products)
        reach = weight.double() @ right.T  # W Fᵀ (n, B)
        crossed = (reach + left.T @ (right @ right.T) / 2) @ left
        return RowGram(self.products + crossed + crossed.T)

    @cached_property
    def energy(self) -> float:
        """Energy of the rows relative to random rows: about 1."""
        norms = self.products.diagonal().sqrt()
        n, total = len(norms), 0.0
        for first in range(0, n, _ROWS):
            block = self.products[first : first + _ROWS]
            cosines = block / (norms[first : first + _ROWS, None] * norms)  # (≤ 512, n)
            squared = (2 - 2 * cosines).clamp_min(_CLOSEST)  # ‖ŵ_i − ŵ_j‖²
            inside = torch.arange(len(block), device=block.device)
            squared[inside, first + inside] = torch.inf  # a row has no energy with itself
            total += float(squared.rsqrt().sum())
        return total / (n * (n - 1) / sqrt(2))


def hyperspherical_energy(weight: Tensor) -> float:
    """Energy of the rows of ``weight`` (n, d_in), relative to random rows: about 1."""
    return RowGram.of(weight).energy
