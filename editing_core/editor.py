"""From edits to an exact delta: values, then layer by layer keys → solve → projection → factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.delta import Delta, Factors, left_grid, on_grid
from editing_core.edit import Edit
from editing_core.keys import KeySweep
from editing_core.methods import LayerProblem, Method, method_named, uses_sphere
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.sphere import principal_directions, project
from editing_core.statistics import Statistics
from editing_core.values import Value, optimise


@dataclass(frozen=True)
class LayerReport:
    """What an edit did to one layer.

    Attributes:
        layer: Index of the block.
        delta_norm: Frobenius norm of the edit's part of Δ.
        achieved_fraction: ‖Δ k‖/‖r‖ of the edit's own part at its own key: 1 writes it all.
    """

    layer: int
    delta_norm: float
    achieved_fraction: float


@dataclass(frozen=True)
class EditReport:
    """How one edit was solved."""

    edit: str
    value_steps: int
    value_loss: float
    layers: tuple[LayerReport, ...]


@dataclass
class Seconds:
    """Wall time by phase."""

    values: float = 0.0
    keys: float = 0.0
    solve: float = 0.0
    projection: float = 0.0


@dataclass(frozen=True)
class Solution:
    """What ``Editor.solve`` returns; no weight has changed yet.

    Attributes:
        delta: The factors, on the grid.
        values: The optimised values, in the order of the edits.
        reports: How each edit was solved, in the same order.
        seconds: Where the time went.
    """

    delta: Delta
    values: tuple[Value, ...]
    reports: tuple[EditReport, ...]
    seconds: Seconds


@dataclass
class _Solved:
    """One layer's solution before it is rounded: Δ = leftᵀ right."""

    layer: int
    keys: Tensor  # (d_in, B)
    left: Tensor  # (B, d_out)
    right: Tensor  # (B, d_in)


class Editor:
    """Solves batches of edits for one base model by one recipe."""

    def __init__(self, base: LoadedModel, recipe: Recipe, statistics: Statistics) -> None:
        self._base, self._recipe, self._statistics = base, recipe, statistics
        self._original: dict[int, Tensor] = {}  # principal directions of the base, by layer

    def solve(
        self,
        view: PreTrainedModel,
        edits: Sequence[Edit],
        *,
        method: str,
        past_keys: Mapping[int, Tensor] | None = None,
    ) -> Solution:
        """The delta that writes ``edits`` into ``view``. Pure: no weight of the view changes.

        Args:
            view: The model as it is now.
            edits: One batch; solved together.
            method: A name of ``METHOD_NAMES``.
            past_keys: Layer → keys (N, d_in) of the edits live in the view.

        Raises:
            EditingError: See ``editing_core.errors``; nothing was written.
        """
        rule, seconds = method_named(method), Seconds()
        scratch = self._scratch(view)
        packed = PackedModel(scratch, self._base.architecture)
        started = perf_counter()
        values = optimise(packed, self._base.tokenizer, edits, self._recipe)
        seconds.values = perf_counter() - started
        solved = self._solve_layers(packed, edits, values, rule, method, past_keys or {}, seconds)
        delta = Delta(tuple(edit.id for edit in edits), {s.layer: self._round(s) for s in solved})
        return Solution(delta, tuple(values), tuple(_reports(edits, values, solved)), seconds)

    def _solve_layers(
        self,
        packed: PackedModel,
        edits: Sequence[Edit],
        values: Sequence[Value],
        rule: Method,
        method: str,
        past_keys: Mapping[int, Tensor],
        seconds: Seconds,
    ) -> list[_Solved]:
        layers, targets = self._recipe.layers, torch.stack([value.z for value in values]).double().T
        clock = _Stopwatch()
        sweep = KeySweep(packed, self._base.tokenizer, edits, self._recipe)
        solved = []
        for index, layer in enumerate(layers):
            keys, current = sweep.keys(layer), sweep.current(layer)
            residual = (targets - current) / (len(layers) - index)  # R (d_out, B)
            seconds.keys += clock.lap()
            moment = self._statistics.layers[layer]
            past = past_keys.get(layer, keys.new_zeros(0, keys.shape[0])).to(keys).T
            adjusted = rule.adjusted_keys(LayerProblem(keys, past, moment), self._recipe)
            seconds.solve += clock.lap()
            weight = packed.weight(layer)
            right = adjusted
            if uses_sphere(method):
                directions = self._directions(layer, weight)
                right = project(adjusted, directions, rule.sphere_alpha(self._recipe))
            seconds.projection += clock.lap()
            solved.append(_Solved(layer, keys, residual.T, right))
            if index + 1 < len(layers):
                written = right if rule.projects_in_loop else adjusted
                weight += (residual @ written).to(weight)
                sweep.advance(layer, until=layers[index + 1])
            seconds.keys += clock.lap()
        return solved

    def _scratch(self, view: PreTrainedModel) -> PreTrainedModel:
        """A view with edited matrices of its own, free to be written."""
        architecture, layers = self._base.architecture, self._recipe.layers
        own = {layer: architecture.weight_of(view, layer).clone() for layer in layers}
        return architecture.view_with(view, own)

    def _directions(self, layer: int, weight: Tensor) -> Tensor:
        if self._recipe.principal_source == "current":
            return principal_directions(weight, self._recipe.eta)
        if layer not in self._original:
            self._original[layer] = principal_directions(self._base_weight(layer), self._recipe.eta)
        return self._original[layer]

    def _round(self, solved: _Solved) -> Factors:
        grid = left_grid(self._base_weight(solved.layer))
        return on_grid(solved.left, solved.right, solved.keys.T, grid)

    def _base_weight(self, layer: int) -> Tensor:
        return self._base.architecture.weight_of(self._base.model, layer)


@dataclass
class _Stopwatch:
    """Time since the last lap."""

    _since: float = field(default_factory=perf_counter)

    def lap(self) -> float:
        now = perf_counter()
        elapsed, self._since = now - self._since, now
        return elapsed


def _reports(
    edits: Sequence[Edit], values: Sequence[Value], solved: Sequence[_Solved]
) -> list[EditReport]:
    reports = []
    for j, (edit, value) in enumerate(zip(edits, values, strict=True)):
        layers = []
        for s in solved:
            norm = float(s.left[j].norm() * s.right[j].norm())
            achieved = float((s.right[j] @ s.keys[:, j]).abs())  # Δ_j k_j = left_j (right_j · k_j)
            layers.append(LayerReport(s.layer, norm, achieved))
        reports.append(EditReport(edit.id, value.steps, value.loss, tuple(layers)))
    return reports
