"""From edits to an exact delta: values, then layer by layer keys → residual → update → factors.

Two devices meet here. The model has its own; everything from keys and values to finished updates
is in float64 where the statistics are, and updates go back as the model's numbers. The delta is on
the host.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from editing_core.edit import Edit, check_target
from editing_core.errors import EditFailed, NonFinite
from editing_core.giving_way import GiveWay, go_on
from editing_core.methods import METHODS, LayerProblem, Method, Step, method_named
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.past_keys import PastKeys
from editing_core.reach import Reach
from editing_core.recipe import Recipe
from editing_core.scratch import Scratch, changed
from editing_core.solution import Effort, LayerSolution, Phases, Solution, edit_reports, joined
from editing_core.sphere_directions import Directions
from editing_core.statistics import Statistics
from editing_core.values import Value, optimise
from editing_core.weights.delta import Delta, Dense, Factors, dense_on_grid, left_grid, on_grid


@dataclass(frozen=True)
class _Batch:
    """Edits that are solved together beside facts that hold already, and how."""

    edits: Sequence[Edit]
    beside: Sequence[Edit]
    method: Method
    layers: tuple[int, ...]
    past_keys: Mapping[int, Tensor]
    values: Sequence[Value] | None
    thorough: bool
    phases: Phases


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
        methods: Methods by name.
        give_way: Lets others go first, before each step of the work.
    """

    def __init__(
        self,
        base: LoadedModel,
        recipe: Recipe,
        statistics: Statistics,
        methods: Mapping[str, Method] = METHODS,
        *,
        give_way: GiveWay = go_on,
    ) -> None:
        self._base, self.recipe, self._statistics = base, recipe, statistics
        self._methods = methods
        self._give_way = give_way
        self._device = statistics.device
        self._directions = Directions(base, recipe.sphere, self._device)
        self._memories: dict[tuple[Method, int], PastKeys | None] = {}

    def remembers(self, method: str) -> bool:
        """Whether a method has use for the keys of the edits that are live.

        Raises:
            UnknownMethod: There is no such method.
        """
        return method_named(method, self._methods).remembers

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
                recipe, at the last of its layers. Methods that edit a single layer, or take edits
                one by one, have no use for them.
            thorough: Whether a value goes on, within its steps, once its targets are said: facts
                that were surer than that before stay so.

        Raises:
            EditingError: See ``editing_core.errors``; nothing was written.
        """
        chosen, phases = method_named(method, self._methods), Phases()
        reach = Reach.of(self._base.model)
        layers = (self.recipe.single_layer,) if chosen.single_layer else self.recipe.layers
        weights = {layer: self._weight(view, layer) for layer in layers}
        _check_finite("weight", weights)
        _check_finite("remembered keys", past_keys or {})
        for edit in edits:
            check_target(self._base.tokenizer, edit)
            reach.check_edit(self._base.tokenizer, edit, self.recipe.all_contexts)
        if chosen.single_layer or chosen.one_by_one:
            values = None
        solved: list[_Solved] = []
        for group, held in _groups(edits, beside, one_by_one=chosen.one_by_one):
            past = past_keys or {}
            batch = _Batch(group, held, chosen, layers, past, values, thorough, phases)
            with _naming(group):
                solved.append(self._solve_batch(view, weights, batch))
            weights = {s.layer: changed(weights[s.layer], s.update) for s in solved[-1].layers}
        updates = [joined(parts) for parts in zip(*(s.layers for s in solved), strict=True)]
        with _naming(edits):
            rounded = {update.layer: self._round(update) for update in updates}
        return Solution(
            delta=Delta(tuple(edit.id for edit in edits), rounded),
            values=tuple(value for s in solved for value in s.values),
            reports=edit_reports(edits, [e for s in solved for e in s.efforts], updates),
            seconds=phases.seconds,
        )

    def _solve_batch(
        self, view: PreTrainedModel, weights: Mapping[int, Tensor], batch: _Batch
    ) -> _Solved:
        """Values and finished updates of edits that are solved together on ``weights``."""
        own = {layer: weight.clone() for layer, weight in weights.items()}
        packed = PackedModel(self._base.view(own, of=view), self._base.architecture)
        with batch.phases.of("values"):
            values = self._values(packed, batch) if batch.method.has_values else []
        scratch = Scratch(
            packed,
            self._base.tokenizer,
            batch.edits,
            values,
            batch.layers,
            self.recipe,
            self._directions,
            device=self._device,
            phases=batch.phases,
            give_way=self._give_way,
        )
        with batch.phases.of("solve"):
            solved = self._solve_layers(scratch, weights, batch)
        efforts = [Effort(value.steps, value.loss) for value in values]
        for update in solved:
            if update.effort is not None:  # of the matrix itself, for all edits alike
                efforts = [update.effort] * len(batch.edits)
        return _Solved(values, efforts, solved)

    def _solve_layers(
        self, scratch: Scratch, weights: Mapping[int, Tensor], batch: _Batch
    ) -> list[LayerSolution]:
        """The layer loop: each update is solved on the ones below, and finished after them all."""
        method, layers, solved = batch.method, batch.layers, list[tuple[Step, LayerSolution]]()
        for index, layer in enumerate(layers):  # bottom up, as MEMIT does
            keys, bare_keys = scratch.keys(layer)  # K (d_in, B), averaged and bare
            residual = scratch.missing(layer) / (len(layers) - index)  # R (d_out, B)
            problem = self._problem(layer, keys, bare_keys, batch)  # with C and K_p
            original = self._weight(self._base.model, layer)  # W₀
            step = Step(layer, problem, residual, weights[layer], original, scratch)
            update = method.update(step)  # Δ = R A
            scratch.write(update)
            solved.append((step, update))
        with batch.phases.of("projection"):
            return [method.finish(step, update) for step, update in solved]

    def _values(self, packed: PackedModel, batch: _Batch) -> Sequence[Value]:
        return batch.values or optimise(
            packed,
            self._base.tokenizer,
            batch.edits,
            self.recipe.without_patience() if batch.thorough else self.recipe,
            layer=batch.layers[-1],
            beside=batch.beside,
            give_way=self._give_way,
        )

    def _problem(self, layer: int, keys: Tensor, bare_keys: Tensor, batch: _Batch) -> LayerProblem:
        return LayerProblem(
            keys=keys,
            bare_keys=bare_keys,
            past=batch.past_keys.get(layer, keys.new_zeros(0, len(keys))).to(keys).T,
            moment=self._statistics.layers[layer],
            memory=self._memory(layer, batch.method),
        )

    def _memory(self, layer: int, method: Method) -> PastKeys | None:
        """The layer's memory under this method, if it has one that outlives a batch."""
        if (method, layer) not in self._memories:
            moment = self._statistics.layers[layer]
            self._memories[method, layer] = method.memory(moment, self.recipe)
        return self._memories[method, layer]

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
