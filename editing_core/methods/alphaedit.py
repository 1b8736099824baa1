"""AlphaEdit: null-space constrained editing (Fang et al., arXiv 2410.02355)."""

import torch
from torch import Tensor

from editing_core.errors import KeyOutsideNullSpace
from editing_core.methods.base import LayerProblem
from editing_core.recipe import Recipe

_LEAST_SHARE = 0.1  # of ‖k‖² that must survive P, else nothing could be written


class AlphaEdit:
    """Δ = R K̂ᵀ (K̂K̂ᵀ + K̂_pK̂_pᵀ + λI)⁻¹ with K̂ = PK, K̂_p = PK_p, λ = ``recipe.alphaedit_l2``.

    Equal to the published [P(KKᵀ + C_p) + λI]⁻¹ P K Rᵀ; in dual form (`algorithms.md` §8.3):
    K⊥ = K̂ − K̂_p (λI + K̂_pᵀK̂_p)⁻¹ K̂_pᵀK̂ and A = (λI + K̂ᵀK⊥)⁻¹ K⊥ᵀ.
    """

    projects_in_loop = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A, shape (B, d_in).

        Raises:
            KeyOutsideNullSpace: P removes over 90 % of a key.
        """
        project = problem.moment.null_space(recipe.alphaedit_tau)
        keys, past = project(problem.keys), project(problem.past)
        _refuse_lost_keys(problem.keys, keys)
        ridge = recipe.alphaedit_l2
        if past.shape[1]:
            gram = past.T @ past
            gram.diagonal().add_(ridge)
            fresh = keys - past @ torch.linalg.solve(gram, past.T @ keys)  # K⊥ (d_in, B)
        else:
            fresh = keys
        core = keys.T @ fresh
        core.diagonal().add_(ridge)
        adjusted: Tensor = torch.linalg.solve(core, fresh.T)
        return adjusted

    def sphere_alpha(self, recipe: Recipe) -> float:
        """``recipe.alphaedit_alpha``."""
        return recipe.alphaedit_alpha


def _refuse_lost_keys(keys: Tensor, projected: Tensor) -> None:
    share = projected.square().sum(0) / keys.square().sum(0)
    if bool((share < _LEAST_SHARE).any()):
        raise KeyOutsideNullSpace(
            f"the null-space projection keeps {float(share.min()):.1%} of a key's energy; "
            f"at least {_LEAST_SHARE:.0%} is needed: raise alphaedit_tau or recalibrate"
        )
