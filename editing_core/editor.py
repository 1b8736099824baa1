"""From edits to an exact delta: values, then layer by layer keys → solve → projection → factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.delta import Delta, Dense, Factors, dense_on_grid, left_grid, on_grid
from editing_core.directions import Directions
from editing_core.edit import Edit
from editing_core.keys import KeySweep
from editing_core.methods import (
    PLANS,
    LayerProblem,
    LayerUpdate,
    Plan,
    Projection,
    plan_named,
)
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.sphere import project
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
    """One layer's solution before it is rounded: Δ = leftᵀ right, or a dense Δ."""

    layer: int
    keys: Tensor  # (d_in, B)
    left: Tensor  # (B, d_out)
    right: Tensor  # (B, d_in)
    dense: Tensor | None = None  # (d_out, d_in)

    @property
    def update(self) -> Tensor:
        """Δ (d_out, d_in)."""
        return self.left.T @ self.right if self.dense is None else self.dense


class Editor:
    """Solves batches of edits for one base model by one recipe."""

    def __init__(
        self,
        base: LoadedModel,
        recipe: Recipe,
        statistics: Statistics,
        plans: Mapping[str, Plan] = PLANS,
    ) -> None:
        self._base, self._recipe, self._statistics = base, recipe, statistics
        self._plans = plans
        self._directions = Directions(base, recipe)

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
            edits: One batch; solved together unless the method takes them one by one.
            method: A name of ``METHOD_NAMES``.
            past_keys: Layer → keys (N, d_in) of the edits live in the view.

        Raises:
            EditingError: See ``editing_core.errors``; nothing was written.
        """
        plan, seconds = plan_named(method, self._plans), Seconds()
        layers = (self._recipe.single_layer,) if plan.rule.single_layer else self._recipe.layers
        weights = {layer: self._weight(view, layer) for layer in layers}
        groups = [[edit] for edit in edits] if plan.rule.one_by_one else [list(edits)]
        values: list[Value] = []
        parts: list[list[_Solved]] = []
        for group in groups:
            batch = _Batch(group, plan, layers, past_keys or {}, seconds)
            found, solved = self._solve_batch(view, weights, batch)
            values += found
            parts.append(solved)
            weights = {s.layer: weights[s.layer] + s.update.to(weights[s.layer]) for s in solved}
        joined = [_joined(same_layer) for same_layer in zip(*parts, strict=True)]
        delta = Delta(tuple(edit.id for edit in edits), {s.layer: self._round(s) for s in joined})
        return Solution(delta, tuple(values), tuple(_reports(edits, values, joined)), seconds)

    def _solve_batch(
        self, view: PreTrainedModel, weights: Mapping[int, Tensor], batch: "_Batch"
    ) -> tuple[list[Value], list[_Solved]]:
        """Values and updates of edits that are solved together, on matrices ``weights``."""
        own = {layer: weight.clone() for layer, weight in weights.items()}
        scratch = self._base.architecture.view_with(view, own)
        packed = PackedModel(scratch, self._base.architecture)
        clock, tokenizer = _Stopwatch(), self._base.tokenizer
        values = optimise(packed, tokenizer, batch.edits, self._recipe, layer=batch.layers[-1])
        batch.seconds.values += clock.lap()
        solved = self._solve_layers(packed, values, batch)
        clock.lap()
        for s in solved:
            if batch.plan.rule.projects_in_loop:
                continue
            if not batch.plan.rule.separable:
                original = self._weight(self._base.model, s.layer).double()
                layer = LayerUpdate(s.update, weights[s.layer].double(), original)
                s.dense = batch.plan.rule.reshape(layer)
            self._project_update(s, weights[s.layer], batch.plan)
        batch.seconds.projection += clock.lap()
        return values, solved

    def _solve_layers(
        self, packed: PackedModel, values: Sequence[Value], batch: "_Batch"
    ) -> list[_Solved]:
        rule, layers, seconds = batch.plan.rule, batch.layers, batch.seconds
        targets, clock = torch.stack([value.z for value in values]).double().T, _Stopwatch()
        sweep = KeySweep(packed, self._base.tokenizer, batch.edits, self._recipe, layers)
        solved = []
        for index, layer in enumerate(layers):
            keys, bare_keys = sweep.keys(layer)
            residual = (targets - sweep.current(layer)) / (len(layers) - index)  # R (d_out, B)
            seconds.keys += clock.lap()
            weight = packed.weight(layer)
            problem = LayerProblem(
                keys=keys,
                bare_keys=bare_keys,
                past=batch.past_keys.get(layer, keys.new_zeros(0, len(keys))).to(keys).T,
                moment=self._statistics.layers[layer],
                sphere=self._sphere_inside(layer, weight, batch.plan),
            )
            found = _Solved(layer, keys, residual.T, rule.adjusted_keys(problem, self._recipe))
            seconds.solve += clock.lap()
            if rule.projects_in_loop:
                self._project_update(found, weight, batch.plan)
            seconds.projection += clock.lap()
            solved.append(found)
            if index + 1 < len(layers):
                weight += found.update.to(weight)
                sweep.advance(layer, until=layers[index + 1])
            seconds.keys += clock.lap()
        return solved

    def _sphere_inside(self, layer: int, weight: Tensor, plan: Plan) -> Projection | None:
        """P⊥ on columns, where the method is to solve in the projected space."""
        if plan.sphere != "solve":
            return None
        directions, alpha = self._directions.of(layer, weight), plan.rule.sphere_alpha(self._recipe)
        return lambda keys: project(keys.T, directions, alpha).T

    def _project_update(self, solved: _Solved, weight: Tensor, plan: Plan) -> None:
        """The one SPHERE step of every method, on factors and dense updates alike."""
        if plan.sphere not in ("post", "reproject"):
            return
        directions, alpha = (
            self._directions.of(solved.layer, weight),
            plan.rule.sphere_alpha(self._recipe),
        )
        if solved.dense is not None:
            solved.dense = project(solved.dense, directions, alpha)
            return
        solved.right = project(solved.right, directions, alpha)
        if plan.sphere == "reproject":
            null_space = self._statistics.layers[solved.layer].null_space(
                self._recipe.alphaedit_tau
            )
            solved.right = null_space(solved.right.T).T

    def _round(self, solved: _Solved) -> Factors | Dense:
        grid = left_grid(self._weight(self._base.model, solved.layer))
        if solved.dense is not None:
            return dense_on_grid(solved.dense, solved.keys.T, grid)
        return on_grid(solved.left, solved.right, solved.keys.T, grid)

    def _weight(self, model: PreTrainedModel, layer: int) -> Tensor:
        return self._base.architecture.weight_of(model, layer)


@dataclass(frozen=True)
class _Batch:
    """Edits that are solved together, and how."""

    edits: Sequence[Edit]
    plan: Plan
    layers: tuple[int, ...]
    past_keys: Mapping[int, Tensor]
    seconds: Seconds


def _joined(parts: Sequence[_Solved]) -> _Solved:
    """The updates of one layer by edits that were solved one after another."""
    return _Solved(
        parts[0].layer,
        torch.cat([part.keys for part in parts], dim=1),
        torch.cat([part.left for part in parts]),
        torch.cat([part.right for part in parts]),
        parts[0].dense,
    )


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
