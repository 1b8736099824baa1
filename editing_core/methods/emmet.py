"""EMMET: equality-constrained mass editing (Gupta et al., arXiv 2403.14236)."""

from torch import Tensor

from editing_core.methods.base import LayerProblem, LowRank
from editing_core.methods.memit import ridge_rows
from editing_core.recipe import Recipe


class Emmet(LowRank):
    """Δ = R (KᵀC⁻¹K + λ_e I)⁻¹ KᵀC⁻¹ in one layer; λ_e = ``recipe.emmet.ridge`` if B > 1, else 0.

    The smallest update, measured on ordinary text, that meets Δ K = R; for one edit it is ROME
    with the averaged key in the constraint.
    """

    single_layer = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A, shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        ridge = recipe.emmet.ridge if problem.keys.shape[1] > 1 else 0.0
        return ridge_rows(problem.keys, problem.moment.solve(problem.keys), ridge)
