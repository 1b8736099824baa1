"""What a method is given and what it returns.

A method is asked twice for each layer: for its update while the layers are solved one after
another (``update``), and for what becomes of that update once the last of them is (``finish``).
Most methods of the locate-then-edit family differ only in how a layer's least-squares problem is
solved: Δ = R A, and the method gives A (``adjusted_keys``).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from editing_core.past_keys import PastKeys, Projection
from editing_core.recipe import Recipe
from editing_core.scratch import Scratch
from editing_core.solution import LayerSolution
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
        memory: What the method's ``memory`` gave for this layer, kept from batch to batch.
    """

    keys: Tensor
    bare_keys: Tensor
    past: Tensor
    moment: SecondMoment
    sphere: Projection | None = None
    memory: PastKeys | None = None


@dataclass(frozen=True)
class Step:
    """One step of the layer loop: a layer of the scratch model, before its update is written.

    Attributes:
        layer: Index of the block.
        problem: What is to be solved.
        residual: R (d_out, B), how each edit's output is to move; empty without values.
        weight: The matrix (d_out, d_in) that the batch began with.
        original: The base model's matrix.
        scratch: The batch, and the model with the updates of the layers below.
    """

    layer: int
    problem: LayerProblem
    residual: Tensor
    weight: Tensor
    original: Tensor
    scratch: Scratch


class Method(Protocol):
    """How Δ is computed.

    Attributes:
        has_values: Whether edits are written as optimised values of the hidden state.
        single_layer: Whether it edits ``recipe.single_layer`` alone instead of all layers.
        one_by_one: Whether edits of a batch are solved one after another.
        separable: Whether each edit has factors of its own, so that it can be undone alone.
        remembers: Whether the solve has use for the keys of the edits that are live.
        projects_in_loop: Whether SPHERE acts before the next layer is solved (AlphaEdit), or on
            the finished updates of all layers, as the authors' code has it for the others.
    """

    has_values: bool
    single_layer: bool
    one_by_one: bool
    separable: bool
    remembers: bool
    projects_in_loop: bool

    def update(self, step: Step) -> LayerSolution:
        """The layer's Δ, which the layers above are solved with."""
        ...

    def finish(self, step: Step, update: LayerSolution) -> LayerSolution:
        """What this method makes of the layer's Δ once all layers are solved."""
        ...

    def sphere_alpha(self, recipe: Recipe) -> float:
        """Strength α of SPHERE on this method."""
        ...

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys | None:
        """An empty memory of past keys for one layer, if the solve has use for one."""
        ...


class MethodBase:
    """What most methods share: all layers, the batch together, nothing done at the end."""

    has_values = True
    single_layer = False
    one_by_one = False
    separable = True
    remembers = False
    projects_in_loop = False

    def finish(self, step: Step, update: LayerSolution) -> LayerSolution:  # noqa: ARG002
        """The update as it is."""
        return update

    def sphere_alpha(self, recipe: Recipe) -> float:
        """``recipe.sphere.alpha``."""
        return recipe.sphere.alpha

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys | None:  # noqa: ARG002
        """None: the solve starts afresh with each batch."""
        return None


class LowRank(MethodBase, ABC):
    """Δ = R A: one factor pair an edit."""

    @abstractmethod
    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A (B, d_in): row j times edit j's residual is edit j's part of Δ."""

    def update(self, step: Step) -> LayerSolution:
        """Δ = R A."""
        adjusted = self.adjusted_keys(step.problem, step.scratch.recipe)
        return LayerSolution(step.layer, step.problem.keys, step.residual.T, adjusted)
