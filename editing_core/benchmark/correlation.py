"""Rank correlation: does one quantity go up when another does."""

from collections.abc import Sequence

import torch
from torch import Tensor


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's ρ: Pearson's correlation of the ranks, equal values sharing their mean rank.

    None where it is not defined: fewer than three pairs, or one side constant.
    """
    if len(x) < 3:
        return None
    a, b = (_ranks(torch.tensor(values, dtype=torch.float64)) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread else None


def _ranks(values: Tensor) -> Tensor:
    """Rank of each value from 1; equal values get the mean of the ranks they would have."""
    below = (values[:, None] > values[None]).sum(1)  # (N,)
    equal = (values[:, None] == values[None]).sum(1)  # (N,), itself counted
    return below + (equal + 1) / 2
