"""The keys of past edits, mapped and factored once, grown batch by batch.

Solves that remember need (ρI + K̂_pK̂_pᵀ)⁻¹ for the mapped keys K̂_p of all live edits. While they
are few, it is had from the Cholesky factor of ρI + K̂_pᵀK̂_p, which each batch extends; where edits
were undone, the part before the first of them stays. Once they are many, the inverse itself is
smaller, and each batch changes it by its own rank. Neither solves anew what was solved before.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Projection = Callable[[Tensor], Tensor]
"""A linear map as a function of keys (d_in, N)."""


class PastKeys:
    """What one layer remembers of live edits, under one linear map of keys and one ridge.

    Args:
        project: Takes keys (d_in, N) to K̂; must stay the same function.
        ridge: ρ, positive.
    """

    def __init__(self, project: Projection, ridge: float) -> None:
        self._project, self._ridge = project, ridge
        self._raw = torch.zeros(0, 0)  # (N, d_in), as last seen
        self._projected = torch.zeros(0, 0, dtype=torch.float64)  # K̂_p (d_in, N), while few
        self._factor = torch.zeros(0, 0, dtype=torch.float64)  # lower Cholesky factor, while few
        self._inverse: Tensor | None = None  # (ρI + K̂_pK̂_pᵀ)⁻¹ (d_in, d_in), once many

    def recall(self, raw: Tensor) -> None:
        """Remember exactly the keys ``raw`` (N, d_in): work only for what differs from before."""
        kept = _common_rows(self._raw, raw)
        if 2 * len(raw) <= raw.shape[1]:
            self._recall_few(raw, 0 if self._inverse is not None else kept)
        else:
            self._recall_many(raw, kept)
        self._raw = raw

    def unexplained(self, keys: Tensor) -> Tensor:
        """K⊥ = K̂ − K̂_p (ρI + K̂_pᵀK̂_p)⁻¹ K̂_pᵀK̂ for mapped keys K̂ (d_in, B)."""
        if self._inverse is not None:  # the same by the push-through identity
            return self._ridge * (self._inverse @ keys)
        if not self._projected.shape[1]:
            return keys
        explained = torch.cholesky_solve(self._projected.T @ keys, self._factor)
        return keys - self._projected @ explained

    def _recall_few(self, raw: Tensor, kept: int) -> None:
        fresh = self._mapped(raw[kept:])
        old = self._projected[:, :kept] if kept else fresh[:, :0]
        self._factor = self._extended(self._factor[:kept, :kept], old, fresh)
        self._projected, self._inverse = torch.cat([old, fresh], dim=1), None

    def _recall_many(self, raw: Tensor, kept: int) -> None:
        if self._inverse is None or kept < len(self._raw):
            every = self._mapped(raw)
            gram = every @ every.T
            gram.diagonal().add_(self._ridge)
            self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
            self._projected, self._factor = every[:, :0], every[:0, :0]
        elif len(raw) > kept:  # Woodbury, for the keys of this batch alone
            fresh = self._mapped(raw[kept:])
            reach = self._inverse @ fresh  # (d_in, m)
            core = fresh.T @ reach
            core.diagonal().add_(1)
            self._inverse = torch.addmm(
                self._inverse, reach, torch.linalg.solve(core, reach.T), alpha=-1
            )

    def _mapped(self, raw: Tensor) -> Tensor:
        return self._project(raw.double().T)

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
    if torch.equal(before[:count], after[:count]):
        return count
    differing = (before[:count] != after[:count]).any(dim=1).nonzero()
    return int(differing[0])
