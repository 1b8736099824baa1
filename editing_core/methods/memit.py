"""MEMIT: mass-editing memory in a transformer (Meng et al., arXiv 2210.07229)."""

import torch
from torch import Tensor

from editing_core.methods.base import LayerProblem, LowRank
from editing_core.recipe import Recipe


class Memit(LowRank):
    """Δ = R Kᵀ (λC + KKᵀ)⁻¹ (eq. 14), λ = ``recipe.memit_lambda``.

    By Woodbury, with Z = (λC)⁻¹ K: Δ = R (I + KᵀZ)⁻¹ Zᵀ; a B × B solve instead of d_in × d_in.
    """

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A = (I + KᵀZ)⁻¹ Zᵀ, shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        whitened = problem.moment.solve(problem.keys) / recipe.memit_lambda
        return ridge_rows(problem.keys, whitened, 1.0)


class MemitSequential(LowRank):
    """MEMIT-seq: Δ = R Kᵀ (λC + K_pK_pᵀ + KKᵀ)⁻¹, so that earlier edits count as knowledge.

    The published code offers it but hands its memory to nobody (`algorithms.md` §1.2); here K_p are
    the keys of the live edits. With Q = (λC + K_pK_pᵀ)⁻¹, again by Woodbury,
    Δ = R (I + KᵀQK)⁻¹ KᵀQ.
    """

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A = (I + KᵀQK)⁻¹ KᵀQ, shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        keys, past = problem.keys, problem.past
        whitened = problem.moment.solve(torch.cat([keys, past], dim=1)) / recipe.memit_lambda
        fresh, old = whitened[:, : keys.shape[1]], whitened[:, keys.shape[1] :]
        if past.shape[1]:
            fresh = fresh - old @ ridge_rows(past, old, 1.0) @ keys
        return ridge_rows(keys, fresh, 1.0)


def ridge_rows(keys: Tensor, whitened: Tensor, ridge: float) -> Tensor:
    """(ρI + KᵀZ)⁻¹ Zᵀ (B, d_in) for K, Z (d_in, B): the dual of a ridge regression."""
    core = keys.T @ whitened
    core.diagonal().add_(ridge)
    rows: Tensor = torch.linalg.solve(core, whitened.T)
    return rows
