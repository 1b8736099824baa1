"""From edits to an exact delta: values, then layer by layer keys → solve → projection → factors.

Two devices meet here. The model has its own; everything from keys and values to finished updates
is in float64 where the statistics are, and updates go back as the model's numbers. The delta is on
the host.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.edit import Edit, check_target
from editing_core.errors import EditFailed, NonFinite
from editing_core.giving_way import GiveWay, go_on
from editing_core.keys import KeySweep
from editing_core.methods import (
    PLANS,
    FineTune,
    LayerProblem,
    LayerUpdate,
    Plan,
    plan_named,
)
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.past_keys import PastKeys, Projection
from editing_core.reach import Reach
from editing_core.recipe import Recipe
from editing_core.solution import (
    Effort,
    LayerSolution,
    Seconds,
    Solution,
    Stopwatch,
    edit_reports,
    joined,
)
from editing_core.sphere import project
from editing_core.sphere_directions import Directions
from editing_core.statistics import Statistics
from editing_core.values import Value, optimise
from editing_core.weights.delta import Delta, Dense, Factors, dense_on_grid, left_grid, on_grid


@dataclass(frozen=True)
class _Batch:
    """Edits that are solved together beside facts that hold already, and how."""

    edits: Sequence[Edit]
    beside: Sequence[Edit]
    plan: Plan
    layers: tuple[int, ...]
    past_keys: Mapping[int, Tensor]
    values: Sequence[Value] | None
    thorough: bool
    seconds: Seconds


@dataclass(frozen=True)
class _Solved:
    """What came of one batch: one value (fine-tuning has none) and effort an edit."""

    values: Sequence[Value]
    efforts: Sequence[Effort]
    layers: Sequence[LayerSolution]


class Editor:
    """Solves batches of edits for one base model by one recipe.

    Attributes:
        recipe: What decides an edit's arithmetic.

    Args:
        base: The model, unedited.
        recipe: What decides an edit's arithmetic.
        statistics: The key statistics that the recipe names; edits are solved where they are.
        plans: Methods by name.
        give_way: Lets others go first, before each step of the work.
    """

    def __init__(
        self,
        base: LoadedModel,
        recipe: Recipe,
        statistics: Statistics,
        plans: Mapping[str, Plan] = PLANS,
        *,
        give_way: GiveWay = go_on,
    ) -> None:
        self._base, self.recipe, self._statistics = base, recipe, statistics
        self._plans = plans
        self._give_way = give_way
        self._device = statistics.device
        self._directions = Directions(base, recipe, self._device)
        self._memories: dict[tuple[Plan, int], PastKeys | None] = {}

    def remembers(self, method: str) -> bool:
        """Whether a method has use for the keys of the edits that are live.

        Raises:
            UnknownMethod: There is no such method.
        """
        return plan_named(method, self._plans).rule.remembers

    def solve(
        self,
        view: PreTrainedModel,
        edits: Sequence[Edit],
        *,
        method: str,
        past_keys: Mapping[int, Tensor] | None = None,
        beside: Sequence[Edit] = (),
        values: Sequence[Value] | None = None,
        thorough: bool = False,
    ) -> Solution:
        """The delta that writes ``edits`` into ``view``. Pure: no weight of the view changes.

        Facts of one subject have nearly one key, so only a value that suits them all keeps them
        all: edits of one subject are given one shift of the hidden state.

        Args:
            view: The model as it is now.
            edits: One batch; solved together unless the method takes them one by one.
            method: A name of ``METHOD_NAMES``.
            past_keys: Layer → keys (N, d_in) of the edits live in the view, for methods that
                remember them.
            beside: Edits live in the view. Those of a subject edited here help to choose its
                value, so that they stay true; leave their keys out of ``past_keys``, which would
                hold the old value fast.
            values: The edits' values, where they are known: optimised for this view, by this
                recipe, at the last of its layers. Rules that edit a single layer, or take edits
                one by one, have no use for them.
            thorough: Whether a value goes on, within its steps, once its targets are said: facts
                that were surer than that before stay so.

        Raises:
            EditingError: See ``editing_core.errors``; nothing was written.
        """
        plan, seconds = plan_named(method, self._plans), Seconds()
        reach = Reach.of(self._base.model)
        layers = (self.recipe.single_layer,) if plan.rule.single_layer else self.recipe.layers
        weights = {layer: self._weight(view, layer) for layer in layers}
        _check_finite("weight", weights)
        _check_finite("remembered keys", past_keys or {})
        for edit in edits:
            check_target(self._base.tokenizer, edit)
            reach.check_edit(self._base.tokenizer, edit, self.recipe.all_contexts)
        if plan.rule.single_layer or plan.rule.one_by_one:
            values = None
        solved: list[_Solved] = []
        for group, held in _groups(edits, beside, one_by_one=plan.rule.one_by_one):
            past = past_keys or {}
            batch = _Batch(group, held, plan, layers, past, values, thorough, seconds)
            with _naming(group):
                solved.append(self._solve_batch(view, weights, batch))
            weights = {s.layer: _changed(weights[s.layer], s.update) for s in solved[-1].layers}
        updates = [joined(parts) for parts in zip(*(s.layers for s in solved), strict=True)]
        with _naming(edits):
            rounded = {update.layer: self._round(update) for update in updates}
        return Solution(
            delta=Delta(tuple(edit.id for edit in edits), rounded),
            values=tuple(value for s in solved for value in s.values),
            reports=edit_reports(edits, [e for s in solved for e in s.efforts], updates),
            seconds=seconds,
        )

    def _solve_batch(
        self, view: PreTrainedModel, weights: Mapping[int, Tensor], batch: _Batch
    ) -> _Solved:
        """Values and finished updates of edits that are solved together on ``weights``."""
        own = {layer: weight.clone() for layer, weight in weights.items()}
        scratch = self._base.architecture.view_with(view, own)
        packed, clock = PackedModel(scratch, self._base.architecture), Stopwatch()
        if isinstance(batch.plan.rule, FineTune):
            solved = self._fine_tune(packed, batch.plan.rule, batch)
        else:
            solved = self._locate_and_edit(packed, batch)
        clock.lap()
        if not batch.plan.rule.projects_in_loop:
            for update in solved.layers:
                self._finish(update, weights[update.layer], batch.plan)
        batch.seconds.projection += clock.lap()
        return solved

    def _fine_tune(self, packed: PackedModel, rule: FineTune, batch: _Batch) -> _Solved:
        clock, (layer,) = Stopwatch(), batch.layers
        tokenizer = self._base.tokenizer
        keys, _ = self._sweep(packed, batch).keys(layer)
        batch.seconds.keys += clock.lap()
        tuned = rule.tune(packed, tokenizer, batch.edits, layer, self.recipe)
        batch.seconds.solve += clock.lap()
        update = LayerSolution(layer, keys, dense=tuned.update.to(self._device))
        return _Solved([], [Effort(tuned.steps, tuned.loss)] * len(batch.edits), [update])

    def _locate_and_edit(self, packed: PackedModel, batch: _Batch) -> _Solved:
        clock, tokenizer = Stopwatch(), self._base.tokenizer
        values = batch.values or optimise(
            packed,
            tokenizer,
            batch.edits,
            self.recipe.without_patience() if batch.thorough else self.recipe,
            layer=batch.layers[-1],
            beside=batch.beside,
            give_way=self._give_way,
        )
        batch.seconds.values += clock.lap()
        efforts = [Effort(value.steps, value.loss) for value in values]
        return _Solved(values, efforts, self._solve_layers(packed, values, batch))

    def _solve_layers(
        self, packed: PackedModel, values: Sequence[Value], batch: _Batch
    ) -> list[LayerSolution]:
        rule, layers, seconds = batch.plan.rule, batch.layers, batch.seconds
        clock, sweep = Stopwatch(), self._sweep(packed, batch)
        targets = torch.stack([value.z for value in values]).to(self._device).double().T
        solved = []
        for index, layer in enumerate(layers):
            self._give_way()
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
                memory=self._memory(layer, batch.plan),
            )
            adjusted = rule.adjusted_keys(problem, self.recipe)
            found = LayerSolution(layer, keys, residual.T, adjusted)
            seconds.solve += clock.lap()
            if rule.projects_in_loop:
                self._project(found, weight, batch.plan)
            seconds.projection += clock.lap()
            solved.append(found)
            if index + 1 < len(layers):
                weight.copy_(_changed(weight, found.update))
                sweep.advance(layer, until=layers[index + 1])
            seconds.keys += clock.lap()
        return solved

    def _sweep(self, packed: PackedModel, batch: _Batch) -> KeySweep:
        return KeySweep(
            packed,
            self._base.tokenizer,
            batch.edits,
            self.recipe,
            batch.layers,
            device=self._device,
        )

    def _sphere_inside(self, layer: int, weight: Tensor, plan: Plan) -> Projection | None:
        """P⊥ on columns, where the method is to solve in the projected space."""
        if plan.sphere != "solve":
            return None
        directions, alpha = self._directions.of(layer, weight), plan.rule.sphere_alpha(self.recipe)
        return lambda keys: project(keys.T, directions, alpha).T

    def _memory(self, layer: int, plan: Plan) -> PastKeys | None:
        """The layer's memory under this plan, if it has one that outlives a batch."""
        if plan.sphere == "solve":
            return None  # the projection follows the directions, which may change
        if (plan, layer) not in self._memories:
            moment = self._statistics.layers[layer]
            self._memories[plan, layer] = plan.rule.memory(moment, self.recipe)
        return self._memories[plan, layer]

    def _finish(self, update: LayerSolution, weight: Tensor, plan: Plan) -> None:
        """What happens to the updates of all layers once the last is solved."""
        if not plan.rule.separable:
            original = self._weight(self._base.model, update.layer)
            before, original = (found.to(self._device).double() for found in (weight, original))
            update.dense = plan.rule.reshape(LayerUpdate(update.update, before, original))
        self._project(update, weight, plan)

    def _project(self, update: LayerSolution, weight: Tensor, plan: Plan) -> None:
        """The one SPHERE step of every method, on factors and dense updates alike."""
        if plan.sphere not in ("post", "reproject"):
            return
        directions = self._directions.of(update.layer, weight)
        alpha = plan.rule.sphere_alpha(self.recipe)
        if update.dense is not None:
            update.dense = project(update.dense, directions, alpha)
            return
        _, right = update.factors
        update.right = project(right, directions, alpha)
        if plan.sphere == "reproject":
            moment = self._statistics.layers[update.layer]
            update.right = moment.null_space(self.recipe.alphaedit_tau)(update.right.T).T

    def _round(self, update: LayerSolution) -> Factors | Dense:
        grid = left_grid(self._weight(self._base.model, update.layer))
        if update.dense is not None:
            return dense_on_grid(update.dense, update.keys.T, grid)
        return on_grid(*update.factors, update.keys.T, grid)

    def _weight(self, model: PreTrainedModel, layer: int) -> Tensor:
        return self._base.architecture.weight_of(model, layer)


def _groups(
    edits: Sequence[Edit], beside: Sequence[Edit], *, one_by_one: bool
) -> list[tuple[Sequence[Edit], Sequence[Edit]]]:
    """Edits that are solved together, each time with the facts that hold by then."""
    if not one_by_one:
        return [(edits, beside)]
    return [([edit], [*beside, *edits[:index]]) for index, edit in enumerate(edits)]


@contextmanager
def _naming(edits: Sequence[Edit]) -> Iterator[None]:
    """Have an error of single edits say which of these they are."""
    try:
        yield
    except EditFailed as error:
        error.name([edit.id for edit in edits])
        raise


def _check_finite(what: str, tensors: Mapping[int, Tensor]) -> None:
    for layer, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise NonFinite(f"{what} of layer {layer} holds NaN or infinity; nothing can be solved")


def _changed(weight: Tensor, update: Tensor) -> Tensor:
    """The matrix with an update added, in its own dtype."""
    return weight + update.to(weight)
