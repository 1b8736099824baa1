"""What an update rule is given and what it returns."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from editing_core.recipe import Recipe
from editing_core.statistics import SecondMoment


@dataclass(frozen=True)
class LayerProblem:
    """The least-squares problem of one layer: change W so that W k_j moves by r_j.

    Attributes:
        keys: K (d_in, B), one column an edit of this batch.
        past: K_p (d_in, N), keys of the live edits before this batch.
        moment: C = E[kkᵀ] on ordinary text.
    """

    keys: Tensor
    past: Tensor
    moment: SecondMoment


class Method(Protocol):
    """An update rule of the locate-then-edit family: Δ = R A.

    Attributes:
        projects_in_loop: Whether SPHERE acts before the next layer is solved (AlphaEdit), or on
            the finished updates of all layers (MEMIT), as the authors' code has it.
    """

    projects_in_loop: bool

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A (B, d_in): row j times edit j's residual is edit j's part of Δ."""
        ...

    def sphere_alpha(self, recipe: Recipe) -> float:
        """Strength α of SPHERE on this rule."""
        ...
