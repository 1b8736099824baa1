"""The batched, suffix-only optimisation against one edit at a time through the whole model."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from editing_core.edit import Edit
from editing_core.errors import NonFinite
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe, ValueSettings
from editing_core.values import Value, optimise
from tests.slow_values import optimise_slowly, same

_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "{}", "the capital of Spain"),
    Edit("c", "Michel Rocard", "Therefore {} is a native speaker of", "German"),
]


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        model_digest="",
        statistics_digest="",
        layers=(0, 1),
        contexts=(("{}",), ("Because I said so. {}", "You know that. {}")),
        value=ValueSettings(steps=20, learning_rate=0.3, stop_loss=0.0, clamp=4.0),
    )


def _with_early_leavers(model: LoadedModel, recipe: Recipe) -> Recipe:
    """A stop that the easiest edit reaches early, and the others later or never."""
    losses = [value.loss for value in _optimise(model, _EDITS, recipe)]
    return replace(recipe, value=replace(recipe.value, stop_loss=1.05 * min(losses)))


def _optimise(model: LoadedModel, edits: Sequence[Edit], recipe: Recipe) -> list[Value]:
    packed = PackedModel(model.model, model.architecture)
    return optimise(packed, model.tokenizer, edits, recipe)


def test_a_batch_equals_each_edit_alone_through_the_whole_model(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    recipe = _with_early_leavers(tiny_model, recipe)
    found = _optimise(tiny_model, _EDITS, recipe)
    expected = [optimise_slowly(tiny_model, edit, recipe) for edit in _EDITS]
    assert all(map(same, found, expected))
    assert len({value.steps for value in found}) > 1  # some left the batch earlier than others


def test_the_order_in_the_batch_does_not_matter(tiny_model: LoadedModel, recipe: Recipe) -> None:
    recipe = _with_early_leavers(tiny_model, recipe)
    forward = _optimise(tiny_model, _EDITS, recipe)
    backward = _optimise(tiny_model, _EDITS[::-1], recipe)
    assert all(map(same, forward, backward[::-1]))


def test_words_after_the_subject_in_the_kl_row_have_no_influence(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    edit = _EDITS[0]
    one, other = (optimise_slowly(tiny_model, edit, recipe, tail) for tail in (" is a", ""))
    assert same(one, other)


def test_delta_never_leaves_its_ball(tiny_model: LoadedModel, recipe: Recipe) -> None:
    tight = replace(recipe, value=replace(recipe.value, clamp=0.05, stop_loss=0.0))
    for edit, value in zip(_EDITS, _optimise(tiny_model, _EDITS, tight), strict=True):
        expected = optimise_slowly(tiny_model, edit, tight)
        assert same(value, expected)
        assert value.steps == tight.value.steps - 1


def test_an_edit_that_is_done_at_once_keeps_its_hidden_state(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    content = replace(recipe, value=replace(recipe.value, stop_loss=1e9))
    for value in _optimise(tiny_model, _EDITS, content):
        assert value.steps == 0
        assert float(value.z.norm()) == pytest.approx(value.initial_norm, rel=1e-6)


def test_a_loss_that_is_not_finite_names_its_edit(tiny_model: LoadedModel, recipe: Recipe) -> None:
    wild = replace(recipe, value=replace(recipe.value, kl=float("nan")))
    with pytest.raises(NonFinite, match="'a'"):
        _optimise(tiny_model, _EDITS, wild)
