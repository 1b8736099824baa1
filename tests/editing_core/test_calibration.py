"""Calibration: null spaces measured right, values reused without a difference, refusals."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from editing_core.benchmark.reading import read_records
from editing_core.benchmark.record import Record
from editing_core.calibration import Calibration, Trial, calibrate
from editing_core.calibration.nullspace import null_space_at, tau_that_keeps_trace
from editing_core.defaults import bundled_path, candidate_layers, default_layers, default_recipe
from editing_core.editor import Editor
from editing_core.errors import KeyOutsideNullSpace
from editing_core.methods import METHOD_NAMES
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe
from editing_core.statistics import SecondMoment, Statistics, collect

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_WINDOWS = ((0, 1), (1, 2))


@pytest.fixture(scope="module")
def records() -> Sequence[Record]:
    return read_records(bundled_path("probes.jsonl"), "counterfact").first(3)


@pytest.fixture(scope="module")
def statistics(tiny_model: LoadedModel) -> Statistics:
    return collect(tiny_model, (0, 1, 2), _TEXT)


@pytest.fixture(scope="module")
def recipe(tiny_model: LoadedModel, statistics: Statistics) -> Recipe:
    recipe = default_recipe(tiny_model, statistics, chat=False)
    return replace(recipe, value=replace(recipe.value, steps=6))


@pytest.fixture(scope="module")
def found(
    tiny_model: LoadedModel, statistics: Statistics, recipe: Recipe, records: Sequence[Record]
) -> Calibration:
    return calibrate(tiny_model, statistics, recipe, _WINDOWS, records, _TEXT[:600])


def test_every_bundled_probe_is_a_usable_fact_with_a_paraphrase_and_a_neighbour() -> None:
    reading = read_records(bundled_path("probes.jsonl"), "counterfact")
    assert (len(reading.records), reading.conflicting, reading.unusable) == (24, 0, 0)
    assert all(record.paraphrases and record.neighbours for record in reading.records)


def test_the_recipe_is_the_best_of_what_was_tried(found: Calibration) -> None:
    def best(method: str, layers: tuple[int, ...]) -> Trial:
        tried = [t for t in found.trials if t.method == method and t.layers == layers]
        return max(tried, key=lambda trial: trial.score)

    first = {t.layers: t for t in found.trials[: len(_WINDOWS)]}
    assert found.recipe.layers == max(first, key=lambda layers: first[layers].score)
    alphaedit = best("alphaedit+sphere", found.recipe.layers)
    assert (found.recipe.alphaedit.tau, found.recipe.alphaedit.l2) == (alphaedit.tau, alphaedit.l2)
    tried_last = [t for t in found.trials[-3:] if t.method == "memit+sphere"]
    memit = max(tried_last, key=lambda trial: trial.score)
    assert found.recipe.memit.weight == memit.memit_lambda


def test_a_null_space_is_what_it_is_said_to_be(found: Calibration, statistics: Statistics) -> None:
    for space in found.spaces:
        moment = statistics.layers[space.layer]
        vectors = moment.eigenvectors[:, moment.eigenvalues < space.tau]
        covariance = moment.eigenvectors @ torch.diag(moment.eigenvalues) @ moment.eigenvectors.T
        inside = float((vectors.T @ covariance @ vectors).trace() / covariance.trace())
        assert space.dimensions == vectors.shape[1]
        assert space.removed_trace == pytest.approx(1 - inside, abs=1e-9)


def test_tau_keeps_the_share_it_is_asked_for() -> None:
    values = torch.arange(1.0, 101.0, dtype=torch.float64)
    moment = SecondMoment(values, torch.eye(100, dtype=torch.float64))
    tau = tau_that_keeps_trace([moment], 0.25)
    below = values[values < tau].sum() / values.sum()
    assert float(below) == pytest.approx(0.25, abs=0.01)
    space = null_space_at(0, moment, tau, 2 * torch.eye(100)[:, :50])
    assert space.dimensions == 49
    assert space.kept_share == pytest.approx(49 / 50)
    assert space.kept_energy == pytest.approx(4 * 49 / 50)


@pytest.mark.parametrize("method", [name for name in METHOD_NAMES if "sphere=" not in name])
def test_known_values_make_no_difference(
    tiny_model: LoadedModel,
    statistics: Statistics,
    recipe: Recipe,
    records: Sequence[Record],
    method: str,
) -> None:
    recipe = replace(recipe, layers=(0, 1))
    edits = [record.edit for record in records]
    editor = Editor(tiny_model, recipe, statistics)
    once = editor.solve(tiny_model.model, edits, method=method)
    values = editor.solve(tiny_model.model, edits, method="memit").values
    again = editor.solve(tiny_model.model, edits, method=method, values=values)
    assert again.delta.to_bytes() == once.delta.to_bytes()


def test_a_model_whose_keys_no_null_space_holds_is_refused(
    tiny_model: LoadedModel, statistics: Statistics, recipe: Recipe, records: Sequence[Record]
) -> None:
    def flat(moment: SecondMoment) -> SecondMoment:  # equal eigenvalues: all of them, or none
        return SecondMoment(torch.ones_like(moment.eigenvalues), moment.eigenvectors)

    layers = {layer: flat(moment) for layer, moment in statistics.layers.items()}
    with pytest.raises(KeyOutsideNullSpace, match=r"layer 0: .* keeps 0\.0% .*at least 10%"):
        calibrate(
            tiny_model,
            replace(statistics, layers=layers),
            recipe,
            _WINDOWS[:1],
            records,
            _TEXT[:600],
        )


def test_windows_are_as_long_as_the_default_and_leave_a_block_above(
    tiny_model: LoadedModel,
) -> None:
    windows = candidate_layers(tiny_model)
    assert windows[0] == default_layers(tiny_model)
    assert len({len(window) for window in windows}) == 1
    assert len(set(windows)) == len(windows)
    assert max(window[-1] for window in windows) < tiny_model.architecture.layers - 1
