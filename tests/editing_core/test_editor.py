from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from editing_core import keys as keys_module
from editing_core.defaults import default_layers, default_recipe
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.errors import GridOverflow, KeyOutsideNullSpace
from editing_core.keys import KeySweep
from editing_core.measures.probe import score
from editing_core.methods import METHOD_NAMES, METHODS, LayerProblem, with_sphere
from editing_core.methods.memit import Memit
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.model.packing import Packing
from editing_core.model.view import view_of
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings
from editing_core.solution import EditReport, Solution
from editing_core.statistics import SecondMoment, Statistics, collect
from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import tensors_digest

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "They say that {} is the capital of", "Spain"),
]


@pytest.fixture(scope="module")
def statistics(tiny_model: LoadedModel) -> Statistics:
    return collect(tiny_model, default_layers(tiny_model), _TEXT)


@pytest.fixture(scope="module")
def recipe(tiny_model: LoadedModel, statistics: Statistics) -> Recipe:
    return default_recipe(tiny_model, statistics)


@pytest.fixture(scope="module")
def editor(tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics) -> Editor:
    return Editor(tiny_model, recipe, statistics)


def _base(model: LoadedModel, recipe: Recipe) -> dict[int, Tensor]:
    return {
        layer: model.model.get_parameter(model.architecture.parameter(layer)).data
        for layer in recipe.layers
    }


def _edited(model: LoadedModel, recipe: Recipe, solution: Solution) -> dict[str, Tensor]:
    weights = Weights(_base(model, recipe)).changed(add=[solution.delta]).materialise()
    return {model.architecture.parameter(layer): matrix for layer, matrix in weights.items()}


def _achieved(report: EditReport, layer: int) -> float:
    (found,) = (found for found in report.layers if found.layer == layer)
    assert found.achieved_fraction is not None
    return found.achieved_fraction


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_an_edit_raises_the_probability_of_its_target(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor, method: str
) -> None:
    items = [(edit.filled, edit.target) for edit in _EDITS]
    before = score(tiny_model.model, tiny_model.tokenizer, items)
    solution = editor.solve(tiny_model.model, _EDITS, method=method)
    view = view_of(tiny_model.model, _edited(tiny_model, recipe, solution))
    after = score(view, tiny_model.tokenizer, items)
    for old, new in zip(before, after, strict=True):
        assert new.logprob > old.logprob + 0.3


def test_solving_changes_no_weight(tiny_model: LoadedModel, editor: Editor) -> None:
    before = tensors_digest(dict(tiny_model.model.named_parameters()))
    editor.solve(tiny_model.model, _EDITS, method="alphaedit+sphere")
    assert tensors_digest(dict(tiny_model.model.named_parameters())) == before


def test_solving_twice_gives_the_same_bits(tiny_model: LoadedModel, editor: Editor) -> None:
    one, other = (
        editor.solve(tiny_model.model, _EDITS, method="memit+sphere").delta.to_bytes()
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("method", ["alphaedit", "alphaedit+sphere"])
def test_keys_read_while_solving_are_those_of_a_fresh_pass(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor, method: str
) -> None:
    solution = editor.solve(tiny_model.model, _EDITS, method=method)
    view = view_of(tiny_model.model, _edited(tiny_model, recipe, solution))
    packed = PackedModel(view, tiny_model.architecture)
    sweep = KeySweep(packed, tiny_model.tokenizer, _EDITS, recipe, recipe.layers)
    for layer, following in zip(recipe.layers, [*recipe.layers[1:], None], strict=True):
        fresh = sweep.keys(layer)[0].T
        read = solution.delta.layers[layer].keys.double()
        assert float((read - fresh).norm() / fresh.norm()) < 1e-5
        if following is not None:
            sweep.advance(layer, until=following)


def test_the_report_says_what_the_factors_do(tiny_model: LoadedModel, editor: Editor) -> None:
    solution = editor.solve(tiny_model.model, _EDITS, method="alphaedit")
    for index, report in enumerate(solution.reports):
        assert report.edit == _EDITS[index].id
        for layer in report.layers:
            factors = solution.delta.select([index]).layers[layer.layer]
            delta = factors.update()
            assert layer.delta_norm == pytest.approx(float(delta.norm()), rel=1e-3)
            assert 0 < _achieved(report, layer.layer) <= 1


def test_remembered_keys_weaken_a_second_edit_of_the_same_fact(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor
) -> None:
    first = editor.solve(tiny_model.model, _EDITS[:1], method="alphaedit")
    remembered = {layer: factors.keys for layer, factors in first.delta.layers.items()}
    again = editor.solve(tiny_model.model, _EDITS[:1], method="alphaedit", past_keys=remembered)
    lowest, weakened = (_achieved(s.reports[0], recipe.layers[0]) for s in (first, again))
    assert weakened == pytest.approx(lowest / (1 + lowest), rel=1e-3)  # 1/2 as the ridge vanishes


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_keys_are_asked_for_only_where_they_change_something(
    tiny_model: LoadedModel, editor: Editor, method: str
) -> None:
    first = editor.solve(tiny_model.model, _EDITS[:1], method=method)
    keys = {layer: part.keys for layer, part in first.delta.layers.items()}
    again = editor.solve(tiny_model.model, _EDITS[:1], method=method, past_keys=keys)
    changed = first.delta.to_bytes() != again.delta.to_bytes()
    assert changed == editor.remembers(method)


def test_a_projection_that_leaves_nothing_of_a_key_is_refused(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics
) -> None:
    editor = Editor(tiny_model, replace(recipe, alphaedit=AlphaEditSettings(tau=0.0)), statistics)
    with pytest.raises(KeyOutsideNullSpace):
        editor.solve(tiny_model.model, _EDITS, method="alphaedit")


class _Half(Memit):
    """A rule of one's own: half of what MEMIT writes."""

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        return super().adjusted_keys(problem, recipe) / 2


def test_a_rule_from_outside_works_with_and_without_sphere(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics
) -> None:
    methods = {**METHODS, **with_sphere("half", _Half())}
    editor = Editor(tiny_model, recipe, statistics, methods)
    first = recipe.layers[0]
    for suffix in ("", "+sphere"):
        whole, half = (
            editor.solve(tiny_model.model, _EDITS, method=name + suffix).delta.layers[first]
            for name in ("memit", "half")
        )
        error = (half.update() - whole.update() / 2).norm() / whole.update().norm()
        assert float(error) < 1e-5


def test_edits_taken_one_by_one_build_on_each_other(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor
) -> None:
    together = editor.solve(tiny_model.model, _EDITS, method="rome")
    first = editor.solve(tiny_model.model, _EDITS[:1], method="rome")
    view = view_of(tiny_model.model, _edited(tiny_model, recipe, first))
    second = editor.solve(view, _EDITS[1:], method="rome")
    layer = recipe.single_layer
    assert list(together.delta.layers) == [layer]
    for found, expected in ((0, first), (1, second)):
        part = together.delta.select([found]).layers[layer].update()
        alone = expected.delta.layers[layer].update()
        assert float((part - alone).norm() / alone.norm()) < 1e-3


def test_a_dense_update_belongs_to_its_batch_as_a_whole(
    tiny_model: LoadedModel, editor: Editor
) -> None:
    delta = editor.solve(tiny_model.model, _EDITS, method="rect+sphere").delta
    assert Delta.from_bytes(delta.to_bytes()).to_bytes() == delta.to_bytes()
    with pytest.raises(ValueError, match="no part"):
        delta.select([0])


def test_a_sweep_in_chunks_reads_what_one_in_a_whole_does(
    tiny_model: LoadedModel, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = [
        Edit(str(n), f"Place {'x' * n}", f"{'So ' * (n % 3)}the capital of {{}} is", "Rome")
        for n in range(7)
    ]
    first, second = recipe.layers[:2]
    rows = list[int]()
    run = PackedModel.run

    def counting(self: PackedModel, tokens: Tensor, packing: Packing, **given: Any) -> Tensor:
        rows.append(len(packing.lengths))
        return run(self, tokens, packing, **given)

    def read(chunk: int) -> list[Tensor]:
        monkeypatch.setattr(keys_module, "_CHUNK", chunk)
        packed = PackedModel(tiny_model.model, tiny_model.architecture)
        sweep = KeySweep(packed, tiny_model.tokenizer, edits, recipe, recipe.layers)
        found = [*sweep.keys(first), sweep.current(first)]
        sweep.advance(first, until=second)
        return [*found, *sweep.keys(second)]

    whole = read(len(edits))
    monkeypatch.setattr(PackedModel, "run", counting)
    for found, expected in zip(read(3), whole, strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert max(rows) == 3 * len(recipe.all_contexts)


def test_an_error_of_single_edits_says_which_they_are(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics
) -> None:
    keys = KeySweep(
        PackedModel(tiny_model.model, tiny_model.architecture),
        tiny_model.tokenizer,
        _EDITS,
        recipe,
        recipe.layers,
    ).keys(recipe.layers[0])[0]
    # P removes the second key, and nearly nothing of the first.
    basis, _ = torch.linalg.qr(torch.cat([keys.flip(1), torch.eye(len(keys)).double()], dim=1))
    values = torch.full((len(keys),), 1e-6, dtype=torch.float64)
    values[-1] = 1.0
    moment = SecondMoment(values, basis.flip(1))
    own = replace(statistics, layers=dict.fromkeys(recipe.layers, moment))
    editor = Editor(tiny_model, replace(recipe, alphaedit=AlphaEditSettings(tau=0.5)), own)
    with pytest.raises(KeyOutsideNullSpace) as told:
        editor.solve(tiny_model.model, _EDITS, method="alphaedit")
    assert told.value.edits == ("b",)


def test_a_factor_beyond_the_grid_names_its_edit(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics
) -> None:
    editor = Editor(tiny_model, recipe, statistics, {"huge": _HugeForTheSecond()})
    with pytest.raises(GridOverflow) as told:
        editor.solve(tiny_model.model, _EDITS, method="huge")
    assert told.value.edits == ("b",)


class _HugeForTheSecond(Memit):
    """In the last layer an update that no weight could hold."""

    single_layer = True

    def adjusted_keys(self, problem: LayerProblem, recipe: Recipe) -> Tensor:
        return super().adjusted_keys(problem, recipe) * torch.tensor([[1.0], [1e12]])
