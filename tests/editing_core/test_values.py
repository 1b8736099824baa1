"""The batched, suffix-only optimisation against one edit at a time through the whole model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch

from editing_core.edit import Edit
from editing_core.errors import NonFinite
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.settings import ValueSettings
from editing_core.values import Value, optimise
from tests.support.slow_values import optimise_slowly, same

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


def _optimise(
    model: LoadedModel, edits: Sequence[Edit], recipe: Recipe, beside: Sequence[Edit] = ()
) -> list[Value]:
    packed = PackedModel(model.model, model.architecture)
    return optimise(packed, model.tokenizer, edits, recipe, beside=beside)


def test_a_batch_equals_each_edit_alone_through_the_whole_model(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    recipe = _with_early_leavers(tiny_model, recipe)
    found = _optimise(tiny_model, _EDITS, recipe)
    expected = [optimise_slowly(tiny_model, edit, recipe) for edit in _EDITS]
    assert all(map(same, found, expected))
    assert len({value.steps for value in found}) > 1  # some left the batch earlier than others


def test_others_may_go_first_before_every_step(tiny_model: LoadedModel, recipe: Recipe) -> None:
    packed, ways = PackedModel(tiny_model.model, tiny_model.architecture), list[None]()
    give_way = partial(ways.append, None)
    found = optimise(packed, tiny_model.tokenizer, _EDITS, recipe, give_way=give_way)
    assert len(ways) == max(value.steps for value in found) + 1
    assert all(map(same, found, _optimise(tiny_model, _EDITS, recipe)))


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


def _of_rome(number: int) -> Edit:
    target = ("Spain", "the river Seine", "Latin", "Athens")[number % 4]
    return Edit(f"rome-{number}", "Rome", f"{{}} is number {number} of", target)


def test_facts_of_one_subject_share_one_shift(tiny_model: LoadedModel, recipe: Recipe) -> None:
    first, second = _of_rome(0), Edit("other", "Rome", "The river in {} is", "Seine")
    one, _, other = _optimise(tiny_model, [first, _EDITS[0], second], recipe)
    assert same(one, optimise_slowly(tiny_model, first, recipe, beside=[second]))
    still = replace(recipe, value=replace(recipe.value, steps=1))
    start, _, other_start = _optimise(tiny_model, [first, _EDITS[0], second], still)
    assert not torch.allclose(start.z, other_start.z)  # the prompts differ before the subject
    assert torch.allclose(one.z - start.z, other.z - other_start.z, atol=1e-6)


def test_facts_of_other_subjects_beside_an_edit_do_not_matter(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    (alone,) = _optimise(tiny_model, [_EDITS[0]], recipe)
    (found,) = _optimise(tiny_model, [_EDITS[0]], recipe, beside=[_of_rome(0)])
    assert same(found, alone)


def test_facts_beside_an_edit_join_its_objective(tiny_model: LoadedModel, recipe: Recipe) -> None:
    first, second = _of_rome(0), _of_rome(1)
    (found,) = _optimise(tiny_model, [first], recipe, beside=[_EDITS[0], second])
    assert same(found, optimise_slowly(tiny_model, first, recipe, beside=[second]))


def test_a_subject_of_many_facts_is_optimised_as_one(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    recipe = replace(recipe, value=replace(recipe.value, steps=4))
    many = [_of_rome(number) for number in range(11)]  # more than are optimised together
    found = _optimise(tiny_model, [_EDITS[0], *many, _EDITS[2]], recipe)
    assert same(found[1], optimise_slowly(tiny_model, many[0], recipe, beside=many[1:]))
    assert same(found[0], optimise_slowly(tiny_model, _EDITS[0], recipe))
    assert same(found[12], optimise_slowly(tiny_model, _EDITS[2], recipe))


@pytest.mark.parametrize("patience", [0, 2])
def test_an_edit_that_says_its_target_goes_on_as_long_as_patience_lasts(
    tiny_model: LoadedModel, recipe: Recipe, patience: int
) -> None:
    settings = replace(recipe.value, learning_rate=1.0, clamp=100.0, patience=patience)
    impatient = replace(recipe, contexts=(("{}",),), value=settings)
    edits = [replace(_EDITS[1], target="is"), _EDITS[0]]  # the first is easy
    found = _optimise(tiny_model, edits, impatient)
    expected = [optimise_slowly(tiny_model, edit, impatient) for edit in edits]
    assert all(map(same, found, expected))
    assert patience < found[0].steps < settings.steps - 1


def test_a_recipe_without_patience_does_not_name_it(recipe: Recipe) -> None:
    assert "patience" not in recipe.to_json()
    patient = replace(recipe, value=replace(recipe.value, patience=2))
    assert patient.digest != recipe.digest
    assert Recipe.from_json(patient.to_json()) == patient
    assert Recipe.from_json(recipe.to_json()) == recipe
