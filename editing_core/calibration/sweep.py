"""The sweep: layers first, then τ and L2 of AlphaEdit and λ of MEMIT, by what probe facts show.

A value depends on the layers alone, so each window of layers costs one optimisation of the probe
facts, and every setting of the solve is then tried at the price of a solve and a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor

from editing_core.benchmark.metrics import measure
from editing_core.benchmark.record import Record
from editing_core.calibration.nullspace import (
    NullSpace,
    check_usable,
    null_space_at,
    tau_that_keeps_trace,
)
from editing_core.calibration.trial import Calibration, Trial
from editing_core.editor import Editor
from editing_core.errors import KeyOutsideNullSpace
from editing_core.keys import KeySweep
from editing_core.measures.perplexity import perplexity
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.progress import Progress, silent
from editing_core.recipe import Recipe
from editing_core.statistics import Statistics
from editing_core.values import Value, optimise
from editing_core.weights.delta import Weights

_TRACE_SHARES = (0.1, 0.2, 0.4, 0.6)  # of the keys' energy that null spaces are tried with
_RIDGES = (0.03, 0.1, 0.3, 1.0)  # L2 as a multiple of mean ‖Pk‖²
_LAMBDAS = (500.0, 1500.0, 5000.0)
_SOLVES = len(_TRACE_SHARES) * len(_RIDGES) + len(_LAMBDAS)  # trials once the layers are chosen
_ALPHAEDIT, _MEMIT = "alphaedit+sphere", "memit+sphere"


@dataclass(frozen=True)
class _Bench:
    """What every trial shares."""

    base: LoadedModel
    statistics: Statistics
    records: Sequence[Record]
    reference: str
    perplexity: float

    def try_out(self, recipe: Recipe, method: str, values: Sequence[Value]) -> Trial:
        """Edit all probe facts in one batch, and measure."""
        trial = Trial(
            method=method,
            layers=recipe.layers,
            tau=recipe.alphaedit.tau,
            l2=recipe.alphaedit.l2,
            memit_lambda=recipe.memit.weight,
            efficacy_accuracy=0.0,
            generalization=0.0,
            specificity=0.0,
            perplexity_ratio=1.0,
            facts=len(self.records),
        )
        edits = [record.edit for record in self.records]
        editor = Editor(self.base, recipe, self.statistics)
        try:
            solution = editor.solve(self.base.model, edits, method=method, values=values)
        except KeyOutsideNullSpace as error:
            return replace(trial, refusal=str(error))
        weights = Weights(self.base.matrices(recipe.layers)).changed(add=[solution.delta])
        view = self.base.view(weights.materialise())
        packed = PackedModel(view, self.base.architecture)
        found = measure(packed, self.base.tokenizer, self.records)
        return replace(
            trial,
            efficacy_accuracy=(found.efficacy_accuracy or 0.0) / 100,
            generalization=(found.generalization or 0.0) / 100,
            specificity=(found.specificity or 0.0) / 100,
            perplexity_ratio=perplexity(view, self.base.tokenizer, self.reference)
            / self.perplexity,
        )


def calibrate(
    base: LoadedModel,
    statistics: Statistics,
    recipe: Recipe,
    windows: Sequence[tuple[int, ...]],
    records: Sequence[Record],
    reference: str,
    progress: Progress = silent,
) -> Calibration:
    """Choose layers, τ, L2 and λ for a model by editing probe facts.

    Args:
        base: The model.
        statistics: Second moments of all layers of all windows.
        recipe: Everything else that decides an edit; its λ, τ and L2 are where the search begins.
        windows: Layers that may be edited together, ascending.
        records: Probe facts.
        reference: Text for perplexity that the statistics were not collected on.
        progress: Told of each trial.

    Raises:
        KeyOutsideNullSpace: In some layer of every window, P removes over 90 % of the keys.
    """
    before = perplexity(base.model, base.tokenizer, reference)
    bench = _Bench(base, statistics, records, reference, before)
    search = _Search(bench, len(windows) + _SOLVES, progress)
    recipe, values = search.layers(recipe, windows)
    spaces = _null_spaces(base, statistics, recipe, records)
    check_usable(spaces)
    alphaedit = search.null_space(recipe, values, spaces)
    memit = search.weight_of_the_past(recipe, values)
    chosen = replace(
        recipe,
        alphaedit=replace(recipe.alphaedit, tau=alphaedit.tau, l2=alphaedit.l2),
        memit=replace(recipe.memit, weight=memit.memit_lambda),
    )
    return Calibration(chosen, search.trials, spaces, (alphaedit, memit))


class _Search:
    """The trials, one setting after another, each at its best for the next."""

    def __init__(self, bench: _Bench, steps: int, progress: Progress) -> None:
        self.trials: list[Trial] = []
        self._bench, self._steps, self._progress = bench, steps, progress
        progress("calibration", 0, steps)

    def layers(
        self, recipe: Recipe, windows: Sequence[tuple[int, ...]]
    ) -> tuple[Recipe, list[Value]]:
        """The recipe with the best window of layers, and the probes' values there."""
        tried: list[tuple[Trial, Recipe, list[Value]]] = []
        for window in windows:
            own = replace(recipe, layers=window)
            values = _values(self._bench.base, own, self._bench.records)
            tried.append((self._try_out(own, _MEMIT, values), own, values))
        _, best, values = max(tried, key=lambda found: found[0].score)
        return best, values

    def null_space(
        self, recipe: Recipe, values: Sequence[Value], spaces: Sequence[NullSpace]
    ) -> Trial:
        """The best τ and L2 of AlphaEdit."""
        grid = []
        for tau in dict.fromkeys(space.tau for space in spaces):
            energy = mean(space.kept_energy for space in spaces if space.tau == tau)
            for ridge in _RIDGES:
                settings = replace(recipe.alphaedit, tau=tau, l2=ridge * energy)
                tried = replace(recipe, alphaedit=settings)
                grid.append(self._try_out(tried, _ALPHAEDIT, values))
        return max(grid, key=lambda trial: trial.score)

    def weight_of_the_past(self, recipe: Recipe, values: Sequence[Value]) -> Trial:
        """The best λ of MEMIT."""
        tried = [replace(recipe, memit=replace(recipe.memit, weight=weight)) for weight in _LAMBDAS]
        trials = [self._try_out(one, _MEMIT, values) for one in tried]
        return max(trials, key=lambda trial: trial.score)

    def _try_out(self, recipe: Recipe, method: str, values: Sequence[Value]) -> Trial:
        trial = self._bench.try_out(recipe, method, values)
        self.trials.append(trial)
        self._progress("calibration", len(self.trials), self._steps)
        return trial


def _values(base: LoadedModel, recipe: Recipe, records: Sequence[Record]) -> list[Value]:
    packed = PackedModel(base.model, base.architecture)
    return optimise(packed, base.tokenizer, [record.edit for record in records], recipe)


def _null_spaces(
    base: LoadedModel, statistics: Statistics, recipe: Recipe, records: Sequence[Record]
) -> list[NullSpace]:
    """The null space of each layer at each threshold, on the unedited model's probe keys."""
    moments = [statistics.layers[layer] for layer in recipe.layers]
    keys = _keys(base, recipe, records, statistics.device)
    return [
        null_space_at(layer, statistics.layers[layer], tau, keys[layer])
        for tau in [tau_that_keeps_trace(moments, share) for share in _TRACE_SHARES]
        for layer in recipe.layers
    ]


def _keys(
    base: LoadedModel, recipe: Recipe, records: Sequence[Record], device: torch.device
) -> dict[int, Tensor]:
    packed = PackedModel(base.model, base.architecture)
    edits = [record.edit for record in records]
    sweep = KeySweep(packed, base.tokenizer, edits, recipe, recipe.layers, device=device)
    found = {}
    for layer, following in zip(recipe.layers, [*recipe.layers[1:], None], strict=True):
        found[layer], _ = sweep.keys(layer)
        if following is not None:
            sweep.advance(layer, until=following)
    return found
