"""The first position of a text, which is the same key whatever stands there."""

from dataclasses import replace

import pytest
import torch

from editing_core.edit import Edit, tokenise
from editing_core.editor import Editor
from editing_core.keys import KeySweep
from editing_core.methods import METHOD_NAMES
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, ValueSettings
from editing_core.sink import bare_context, contexts_of, statement_of
from editing_core.statistics import collect
from editing_core.values import optimise
from tests.support.slow_values import optimise_slowly, same
from tests.support.tokenizers import beginning

_WORD = "The"  # one token of the tiny tokenizer
_FIRST = Edit("first", _WORD, "{} is a capital of", "Italy")
_LATER = Edit("later", _WORD, "So {} is a capital of", "Italy")
_TWO = Edit("two", "Rome", "{} is a capital of", "Italy")
_CONTEXTS = (("{}",), ("Because I said so. {}", "You know that. {}"))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        model_digest="",
        statistics_digest="",
        layers=(0, 1),
        contexts=_CONTEXTS,
        value=ValueSettings(steps=6, learning_rate=0.3, stop_loss=0.0),
        alphaedit=AlphaEditSettings(tau=float("inf")),
    )


def _broken(recipe: Recipe) -> Recipe:
    """The recipe with a line break where it has the bare prompt."""
    return replace(recipe, contexts=(("\n{}",), *recipe.contexts[1:]))


def test_only_a_subject_in_the_first_position_is_kept_out_of_it(tiny_model: LoadedModel) -> None:
    tokenizer = tiny_model.tokenizer
    assert tokenise(tokenizer, _FIRST, "{}").subject_last == 0
    assert [bare_context(tokenizer, edit) for edit in (_FIRST, _LATER, _TWO)] == [
        "\n{}",
        "{}",
        "{}",
    ]
    assert contexts_of(tokenizer, _FIRST, ("{}", "So. {}")) == ("\n{}", "So. {}")
    assert statement_of(tokenizer, _FIRST).prompt == "\nThe is a capital of"


def test_a_token_before_every_text_keeps_subjects_out_of_it() -> None:
    assert bare_context(beginning(), _FIRST) == "{}"


def test_keys_and_values_have_no_part_in_the_first_position(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    packed, tokenizer = PackedModel(tiny_model.model, tiny_model.architecture), tiny_model.tokenizer
    sweeps = [
        KeySweep(packed, tokenizer, [_FIRST], one, one.layers) for one in (recipe, _broken(recipe))
    ]
    for found, expected in zip(*(sweep.keys(0) for sweep in sweeps), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(*(sweep.current(0) for sweep in sweeps))
    (value,) = optimise(packed, tokenizer, [_FIRST], recipe)
    assert same(value, optimise_slowly(tiny_model, _FIRST, _broken(recipe)))


def test_edits_of_both_kinds_are_solved_in_one_batch(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    packed = PackedModel(tiny_model.model, tiny_model.architecture)
    edits = [_TWO, _FIRST, replace(_LATER, subject="So", template="Is {} the capital of")]
    found = optimise(packed, tiny_model.tokenizer, edits, recipe)
    assert all(map(same, found, [optimise_slowly(tiny_model, edit, recipe) for edit in edits]))


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_what_is_written_does_not_depend_on_the_first_position(
    tiny_model: LoadedModel, recipe: Recipe, method: str
) -> None:
    statistics = collect(tiny_model, recipe.layers, "The capital of France is Paris. " * 200)
    deltas = [
        Editor(tiny_model, one, statistics).solve(tiny_model.model, [_FIRST], method=method).delta
        for one in (recipe, _broken(recipe))
    ]
    assert deltas[0].to_bytes() == deltas[1].to_bytes()
