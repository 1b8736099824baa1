"""What an update rule is given and what it returns.

Most rules of the locate-then-edit family differ only in how a layer's least-squares problem is
solved: Δ = R A, and the rule gives A (``adjusted_keys``). Some then reshape the finished Δ
(``reshape``), which costs it its low rank. A rule that shares neither step overrides ``Rule``
as a whole (FT).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from editing_core.past_keys import PastKeys, Projection
from editing_core.recipe import Recipe
from editing_core.statistics import SecondMoment


@dataclass(frozen=True)
class LayerProblem:
    """The least-squares problem of one layer: change W so that W k_j moves by r_j.

    Attributes:
        keys: K (d_in, B), one column an edit of this batch, averaged over contexts.
        bare_keys: (d_in, B), the same edits' keys at the bare prompt.
        past: K_p (d_in, N), keys of the live edits before this batch.
        moment: C = E[kkᵀ] on ordinary text.
        sphere: P⊥, where SPHERE is to act inside the solve; None where it acts afterwards.
        memory: What the rule's ``memory`` gave for this layer, kept from batch to batch.
    """

    keys: Tensor
    bare_keys: Tensor
    past: Tensor
    moment: SecondMoment
    sphere: Projection | None = None
    memory: PastKeys | None = None


@dataclass(frozen=True)
class LayerUpdate:
    """One layer's finished update, before SPHERE acts on it.

    Attributes:
        update: Δ (d_out, d_in).
        weight: The matrix it is added to (d_out, d_in).
        original: The base model's matrix.
    """

    update: Tensor
    weight: Tensor
    original: Tensor


class Method(Protocol):
    """An update rule.

    Attributes:
        single_layer: Whether it edits ``recipe.single_layer`` alone instead of all layers.
        one_by_one: Whether edits of a batch are solved one after another.
        projects_in_loop: Whether SPHERE acts before the next layer is solved (AlphaEdit), or on
            the finished updates of all layers, as the authors' code has it for the others.
        separable: Whether each edit has factors of its own, so that it can be undone alone.
        has_null_space: Whether updates stay in a null space that SPHERE would take them out of.
        remembers: Whether the solve has use for the keys of the edits that are live.
    """

    single_layer: bool
    one_by_one: bool
    projects_in_loop: bool
    separable: bool
    has_null_space: bool
    remembers: bool

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A (B, d_in): row j times edit j's residual is edit j's part of Δ."""
        ...

    def reshape(self, layer: LayerUpdate) -> Tensor:
        """The update (d_out, d_in) this rule makes of R A; only for rules not separable."""
        ...

    def sphere_alpha(self, recipe: Recipe) -> float:
        """Strength α of SPHERE on this rule."""
        ...

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys | None:
        """An empty memory of past keys for one layer, if the rule's solve has use for one."""
        ...


class LowRank:
    """What most rules share: all layers, the batch together, one factor pair an edit."""

    single_layer = False
    one_by_one = False
    projects_in_loop = False
    separable = True
    has_null_space = False
    remembers = False

    def reshape(self, layer: LayerUpdate) -> Tensor:
        """The update as it is."""
        return layer.update

    def sphere_alpha(self, recipe: Recipe) -> float:
        """``recipe.alpha``."""
        return recipe.alpha

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys | None:  # noqa: ARG002
        """None: the solve starts afresh with each batch."""
        return None
