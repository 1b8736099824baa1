"""MEMIT: mass-editing memory in a transformer (Meng et al., arXiv 2210.07229)."""

import torch
from torch import Tensor

from editing_core.methods.base import LayerProblem
from editing_core.recipe import Recipe


class Memit:
    """Δ = R Kᵀ (λC + KKᵀ)⁻¹ (eq. 14), λ = ``recipe.memit_lambda``.

    By Woodbury, with Z = (λC)⁻¹ K: Δ = R (I + KᵀZ)⁻¹ Zᵀ; a B × B solve instead of d_in × d_in.
    """

    projects_in_loop = False

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A = (I + KᵀZ)⁻¹ Zᵀ, shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        keys = problem.keys
        z = problem.moment.solve(keys) / recipe.memit_lambda  # (d_in, B)
        core = torch.eye(keys.shape[1], dtype=keys.dtype, device=keys.device) + keys.T @ z
        adjusted: Tensor = torch.linalg.solve(core, z.T)
        return adjusted

    def sphere_alpha(self, recipe: Recipe) -> float:
        """``recipe.alpha``."""
        return recipe.alpha
