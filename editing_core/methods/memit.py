"""MEMIT: mass-editing memory in a transformer (Meng et al., arXiv 2210.07229)."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editing_core.methods.base import LayerProblem, LowRank, Step
from editing_core.past_keys import PastKeys, Projection
from editing_core.recipe import Recipe
from editing_core.solution import LayerSolution
from editing_core.statistics import SecondMoment


class Memit(LowRank):
    """Δ = R Kᵀ (λC + KKᵀ)⁻¹ (eq. 14), λ = ``recipe.memit.weight``.

    By Woodbury, with Z = (λC)⁻¹ K: Δ = R (I + KᵀZ)⁻¹ Zᵀ; a B × B solve instead of d_in × d_in.
    """

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A = (I + KᵀZ)⁻¹ Zᵀ, shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        whitened = problem.moment.solve(problem.keys) / recipe.memit.weight
        return ridge_rows(problem.keys, whitened, 1.0)


@dataclass(frozen=True)
class LayerUpdate:
    """One layer's update, once the last layer is solved.

    Attributes:
        update: Δ (d_out, d_in).
        weight: The matrix it is added to (d_out, d_in).
        original: The base model's matrix.
    """

    update: Tensor
    weight: Tensor
    original: Tensor


class ReshapedMemit(Memit):
    """MEMIT whose finished Δ is reshaped, which costs it its low rank."""

    separable = False

    @abstractmethod
    def reshape(self, layer: LayerUpdate) -> Tensor:
        """The update (d_out, d_in) that is made of R A."""

    def finish(self, step: Step, update: LayerSolution) -> LayerSolution:
        """The reshaped update."""
        device = step.problem.keys.device
        before, original = (w.to(device).double() for w in (step.weight, step.original))
        reshaped = self.reshape(LayerUpdate(update.update, before, original))
        return replace(update, dense=reshaped)


class MemitSequential(LowRank):
    """MEMIT-seq: Δ = R Kᵀ (λC + K_pK_pᵀ + KKᵀ)⁻¹, so that earlier edits count as knowledge.

    The published code offers it but hands its memory to nobody; here K_p are
    the keys of the live edits. With keys whitened, K̂ = (λC)^(−1/2) K, it is a ridge regression
    with a past, as AlphaEdit's: Δ = R (I + K̂ᵀK⊥)⁻¹ K⊥ᵀ (λC)^(−1/2).
    """

    remembers = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        """A = (I + K̂ᵀK⊥)⁻¹ K⊥ᵀ (λC)^(−1/2), shape (B, d_in).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        whiten = _whitening(problem.moment, recipe)
        keys = whiten(problem.keys)
        memory = problem.memory or PastKeys(whiten, 1.0)
        memory.recall(problem.past.T)
        rows = ridge_rows(keys, memory.unexplained(keys), 1.0)
        return whiten(rows.T).T

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys:
        """Past keys, whitened."""
        return PastKeys(_whitening(moment, recipe), 1.0)


def _whitening(moment: SecondMoment, recipe: Recipe) -> Projection:
    return lambda keys: moment.whiten(keys) / recipe.memit.weight**0.5


def ridge_rows(keys: Tensor, whitened: Tensor, ridge: float) -> Tensor:
    """(ρI + KᵀZ)⁻¹ Zᵀ (B, d_in) for K, Z (d_in, B): the dual of a ridge regression."""
    core = keys.T @ whitened
    core.diagonal().add_(ridge)
    rows: Tensor = torch.linalg.solve(core, whitened.T)
    return rows
