"""Hyperspherical energy: how evenly a matrix's neurons spread over the sphere.

HE(W) = Σ_{i≠j} ‖ŵ_i − ŵ_j‖⁻¹ over unit rows ŵ (Liu et al. 2018, s = 1); reported relative to
n(n−1)/√2, its value for random rows in many dimensions (`algorithms.md` §5).
"""

from math import sqrt

import torch
from torch import Tensor

_ROWS = 512  # rows of the Gram matrix at a time; bounds memory
_CLOSEST = 1e-12  # squared distance given to equal rows, so that energy stays finite


@torch.no_grad()
def hyperspherical_energy(weight: Tensor) -> float:
    """Energy of the rows of ``weight`` (n, d_in), relative to random rows: about 1."""
    rows = weight.double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    n, total = len(rows), 0.0
    for first in range(0, n, _ROWS):
        block = rows[first : first + _ROWS]
        squared = (2 - 2 * block @ rows.T).clamp_min(_CLOSEST)  # (≤ 512, n) ‖ŵ_i − ŵ_j‖²
        inside = torch.arange(len(block))
        squared[inside, first + inside] = torch.inf  # a row has no energy with itself
        total += float(squared.rsqrt().sum())
    return total / (n * (n - 1) / sqrt(2))
