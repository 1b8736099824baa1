"""AlphaEdit: null-space constrained editing (Fang et al., arXiv 2410.02355)."""

from torch import Tensor

from editing_core.errors import KeyOutsideNullSpace
from editing_core.methods.base import LayerProblem, LowRank
from editing_core.methods.memit import ridge_rows
from editing_core.past_keys import PastKeys, Projection
from editing_core.recipe import Recipe
from editing_core.statistics import SecondMoment

LEAST_SHARE = 0.1  # of ‖k‖² that must survive P, else nothing could be written


class AlphaEdit(LowRank):
    """Δ = R K̂ᵀ (K̂K̂ᵀ + K̂_pK̂_pᵀ + λI)⁻¹ with K̂ = PK, K̂_p = PK_p, λ = ``recipe.alphaedit.l2``.

    Equal to the published [P(KKᵀ + C_p) + λI]⁻¹ P K Rᵀ; in dual form:
    K⊥ = K̂ − K̂_p (λI + K̂_pᵀK̂_p)⁻¹ K̂_pᵀK̂ and A = (λI + K̂ᵀK⊥)⁻¹ K⊥ᵀ.

    With SPHERE inside the solve, S = P P⊥ takes the place of P: K̂ = SᵀK, and Δ ends in Sᵀ. The
    update is then the best one in the projected space, where projecting afterwards takes part of
    each edit back, and it stays in the null space.
    """

    projects_in_loop = True
    remembers = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A, shape (B, d_in).

        Raises:
            KeyOutsideNullSpace: P removes over 90 % of a key.
        """
        null_space = problem.moment.null_space(recipe.alphaedit.tau)
        _refuse_lost_keys(problem.keys, null_space(problem.keys))
        project = null_space if problem.sphere is None else _after(problem.sphere, null_space)
        keys = project(problem.keys)
        memory = problem.memory or PastKeys(project, recipe.alphaedit.l2)
        memory.recall(problem.past.T)
        rows = ridge_rows(keys, memory.unexplained(keys), recipe.alphaedit.l2)
        return rows if problem.sphere is None else null_space(problem.sphere(rows.T)).T

    def sphere_alpha(self, recipe: Recipe) -> float:
        """``recipe.alphaedit.alpha``."""
        return recipe.alphaedit.alpha

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys:
        """Past keys in the null space; not for SPHERE inside the solve, whose space may move."""
        return PastKeys(moment.null_space(recipe.alphaedit.tau), recipe.alphaedit.l2)


def _after(second: Projection, first: Projection) -> Projection:
    return lambda keys: second(first(keys))


def _refuse_lost_keys(keys: Tensor, projected: Tensor) -> None:
    share = projected.square().sum(0) / keys.square().sum(0)
    lost = (share < LEAST_SHARE).nonzero().flatten().tolist()
    if lost:
        raise KeyOutsideNullSpace(
            f"the null-space projection keeps {float(share.min()):.1%} of a key's energy; "
            f"at least {LEAST_SHARE:.0%} is needed: raise alphaedit_tau or recalibrate",
            rows=lost,
        )
