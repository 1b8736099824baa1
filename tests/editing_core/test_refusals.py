"""What cannot be solved is refused in words, and no weight has changed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from editing_core.defaults import default_layers, default_recipe
from editing_core.edit import MOST_TARGET_TOKENS, Edit
from editing_core.editor import Editor
from editing_core.errors import InvalidEdit, KeyOutsideNullSpace, NonFinite, SingularStatistics
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings
from editing_core.statistics import SecondMoment, Statistics, collect
from editing_core.weights.digest import tensors_digest

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_EDIT = Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English")
_EVERY_KIND = ["memit", "alphaedit+sphere", "emmet", "rome", "ft", "prune"]


@pytest.fixture(scope="module")
def statistics(tiny_model: LoadedModel) -> Statistics:
    return collect(tiny_model, default_layers(tiny_model), _TEXT)


@pytest.fixture(scope="module")
def recipe(tiny_model: LoadedModel, statistics: Statistics) -> Recipe:
    return default_recipe(tiny_model, statistics)


@pytest.fixture
def editor(tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics) -> Editor:
    return Editor(tiny_model, recipe, statistics)


@pytest.fixture(autouse=True)
def untouched(tiny_model: LoadedModel) -> Iterator[None]:
    before = tensors_digest(dict(tiny_model.model.named_parameters()))
    yield
    assert tensors_digest(dict(tiny_model.model.named_parameters())) == before


@pytest.mark.parametrize("method", _EVERY_KIND)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor, value: float, method: str
) -> None:
    layer = recipe.single_layer
    broken = tiny_model.architecture.weight_of(tiny_model.model, layer).clone()
    broken[0, 0] = value
    view = tiny_model.architecture.view_with(tiny_model.model, {layer: broken})
    with pytest.raises(NonFinite, match=f"weight of layer {layer} holds NaN or infinity"):
        editor.solve(view, [_EDIT], method=method)
    kept = tiny_model.architecture.weight_of(view, layer)
    assert torch.equal(kept, broken) or (kept.isnan() == broken.isnan()).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_remembered_keys_that_are_not_finite(
    tiny_model: LoadedModel, recipe: Recipe, editor: Editor, value: float
) -> None:
    layer = recipe.layers[0]
    past = {layer: torch.full((1, tiny_model.architecture.key_width), value)}
    with pytest.raises(NonFinite, match=f"remembered keys of layer {layer}"):
        editor.solve(tiny_model.model, [_EDIT], method="alphaedit", past_keys=past)


def test_a_value_that_diverges(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics
) -> None:
    wild = replace(recipe, value=replace(recipe.value, learning_rate=1e38, clamp=torch.inf))
    with pytest.raises(NonFinite, match="value of edit 'a' diverged"):
        Editor(tiny_model, wild, statistics).solve(tiny_model.model, [_EDIT], method="memit")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_statistics_that_are_not_finite(statistics: Statistics, value: float) -> None:
    moment = next(iter(statistics.layers.values()))
    broken = moment.eigenvalues.clone()
    broken[-1] = value
    with pytest.raises(SingularStatistics, match="NaN or infinity"):
        SecondMoment(broken, moment.eigenvectors)
    with pytest.raises(SingularStatistics, match="not finite"):
        SecondMoment.of(torch.full((4, 4), value))


@pytest.mark.parametrize("method", ["memit", "memit-seq", "rect", "emmet", "rome", "prune"])
def test_singular_statistics(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics, method: str
) -> None:
    def singular(moment: SecondMoment) -> SecondMoment:
        values = moment.eigenvalues.clone()
        values[: len(values) // 2] = 0
        return SecondMoment(values, moment.eigenvectors)

    layers = {layer: singular(moment) for layer, moment in statistics.layers.items()}
    editor = Editor(tiny_model, recipe, replace(statistics, layers=layers))
    with pytest.raises(SingularStatistics, match=r"singular \(eigenvalues 0 to .*more text"):
        editor.solve(tiny_model.model, [_EDIT], method=method)


@pytest.mark.parametrize("method", ["alphaedit", "alphaedit+sphere", "alphaedit+sphere=solve"])
def test_a_null_space_that_holds_nothing_of_a_key(
    tiny_model: LoadedModel, recipe: Recipe, statistics: Statistics, method: str
) -> None:
    editor = Editor(tiny_model, replace(recipe, alphaedit=AlphaEditSettings(tau=0.0)), statistics)
    with pytest.raises(KeyOutsideNullSpace, match=r"keeps 0.0% .*at least 10% .*alphaedit_tau"):
        editor.solve(tiny_model.model, [_EDIT], method=method)


@pytest.mark.parametrize("method", _EVERY_KIND)
def test_a_subject_without_tokens(tiny_model: LoadedModel, editor: Editor, method: str) -> None:
    empty = replace(_EDIT, subject="")  # what no one can ask for, and a tokenizer may leave of it
    with pytest.raises(InvalidEdit, match="subject '' has no tokens") as caught:
        editor.solve(tiny_model.model, [_EDIT, empty], method=method)
    assert caught.value.field == "subject"


@pytest.mark.parametrize("method", _EVERY_KIND)
def test_a_target_without_tokens(tiny_model: LoadedModel, editor: Editor, method: str) -> None:
    tokenizer = tiny_model.tokenizer
    assert tokenizer("", add_special_tokens=False)["input_ids"] == []
    with pytest.raises(InvalidEdit, match="target has no tokens") as caught:
        editor.solve(tiny_model.model, [replace(_EDIT, target="")], method=method)
    assert caught.value.field == "target"


@pytest.mark.parametrize("method", _EVERY_KIND)
def test_a_target_of_three_hundred_tokens(
    tiny_model: LoadedModel, editor: Editor, method: str
) -> None:
    long = replace(_EDIT, target="\x01" * 300)
    told = f"target of edit 'a' has 30[01] tokens; at most {MOST_TARGET_TOKENS} are accepted"
    with pytest.raises(InvalidEdit, match=told) as caught:
        editor.solve(tiny_model.model, [long], method=method)
    assert caught.value.field == "target"
