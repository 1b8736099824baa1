"""ROME: rank-one model editing (Meng et al., arXiv 2202.05262)."""

from torch import Tensor

from editing_core.methods.base import LayerProblem, LowRank
from editing_core.recipe import Recipe


class Rome(LowRank):
    """Δ = (z − W k) uᵀ / (uᵀk) in one layer, u = C⁻¹ k̄ (eq. 2).

    u comes from the key averaged over contexts, the constraint is met at the bare prompt's key.
    Edits of a batch are solved one after another; the SPHERE repository's copy edits only the
    first of them.
    """

    single_layer = True
    one_by_one = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:  # noqa: ARG002
        """A = uᵀ/(uᵀk), shape (1, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        direction = problem.moment.solve(problem.keys)  # u (d_in, 1)
        reach = (direction * problem.bare_keys).sum(0)  # uᵀk
        return (direction / reach).T
