"""The keys of past edits, projected and factored once, grown batch by batch.

AlphaEdit's solve needs (ρI + K̂_pᵀK̂_p)⁻¹ for the keys of all live edits. Its Cholesky factor is
extended by the keys of each batch instead of being made anew; where edits were undone, the part
before the first of them stays. Once there are more keys than they have entries, the d_in × d_in
form is the smaller one and takes over (`algorithms.md` §8.3).
"""

from collections.abc import Callable

import torch
from torch import Tensor

Projection = Callable[[Tensor], Tensor]
"""A linear projection as a function of keys (d_in, N)."""


class PastKeys:
    """What one layer remembers of live edits, under one projection and one ridge.

    Args:
        project: Takes keys (d_in, N) to K̂; must stay the same function.
        ridge: ρ, positive.
    """

    def __init__(self, project: Projection, ridge: float) -> None:
        self._project, self._ridge = project, ridge
        self._raw = torch.zeros(0, 0)  # (N, d_in), as last seen
        self._projected = torch.zeros(0, 0, dtype=torch.float64)  # K̂_p (d_in, N)
        self._gram = torch.zeros(0, 0, dtype=torch.float64)  # K̂_pK̂_pᵀ, once N > d_in
        self._factor = torch.zeros(0, 0, dtype=torch.float64)  # lower Cholesky factor

    def recall(self, raw: Tensor) -> None:
        """Remember exactly the keys ``raw`` (N, d_in): work only for what differs from before."""
        kept = _common_rows(self._raw, raw)
        fresh = self._project(raw[kept:].double().T)  # (d_in, new)
        old = self._projected[:, :kept] if kept else fresh[:, :0]
        was_dual, only_grew = self._is_dual, kept == len(self._raw)
        self._raw, self._projected = raw, torch.cat([old, fresh], dim=1)
        if not self._is_dual:
            if was_dual or not only_grew:
                self._gram = self._projected @ self._projected.T
            elif len(raw) > kept:
                self._gram = self._gram + fresh @ fresh.T
            ridged = self._gram.clone()
            ridged.diagonal().add_(self._ridge)
            self._factor = torch.linalg.cholesky(ridged)
        elif was_dual:
            self._factor = self._extended(self._factor[:kept, :kept], old, fresh)
        else:
            none = self._projected[:, :0]
            self._factor = self._extended(none[:0], none, self._projected)

    def unexplained(self, keys: Tensor) -> Tensor:
        """K⊥ = K̂ − K̂_p (ρI + K̂_pᵀK̂_p)⁻¹ K̂_pᵀK̂ for projected keys K̂ (d_in, B)."""
        if not self._projected.shape[1]:
            return keys
        if not self._is_dual:  # the same by the push-through identity
            return self._ridge * torch.cholesky_solve(keys, self._factor)
        explained = torch.cholesky_solve(self._projected.T @ keys, self._factor)
        return keys - self._projected @ explained

    @property
    def _is_dual(self) -> bool:
        """Whether the factor is of ρI + K̂_pᵀK̂_p (N, N), not of ρI + K̂_pK̂_pᵀ (d_in, d_in)."""
        return self._projected.shape[1] <= self._projected.shape[0]

    def _extended(self, factor: Tensor, old: Tensor, fresh: Tensor) -> Tensor:
        """The Cholesky factor with rows for ``fresh`` (d_in, m) below those for ``old``."""
        kept, new = old.shape[1], fresh.shape[1]
        corner = fresh.T @ fresh
        corner.diagonal().add_(self._ridge)
        extended = corner.new_zeros(kept + new, kept + new)
        extended[:kept, :kept] = factor
        if kept:
            below = torch.linalg.solve_triangular(factor, old.T @ fresh, upper=False).T
            extended[kept:, :kept] = below
            corner -= below @ below.T
        extended[kept:, kept:] = torch.linalg.cholesky(corner)
        return extended


def _common_rows(before: Tensor, after: Tensor) -> int:
    """How many leading rows of two matrices are equal."""
    if before.shape[1:] != after.shape[1:]:
        return 0
    count = min(len(before), len(after))
    differing = (before[:count] != after[:count]).any(dim=1).nonzero()
    return int(differing[0]) if len(differing) else count
