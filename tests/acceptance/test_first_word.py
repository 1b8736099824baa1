"""A fact whose prompt begins with its subject, on a model that puts nothing before a text."""

from pathlib import Path

import pytest

from editing_core.defaults import bundled_text, default_recipe, prepare_statistics
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.measures.probe import score
from editing_core.model.loading import LoadedModel
from editing_core.sink import statement_of
from editing_core.weights.delta import Weights

_EDIT = Edit("paris", "Paris", "{} is the capital of", "Italy")


@pytest.mark.model
def test_a_fact_of_the_first_word_holds_wherever_anything_stands_before_it(
    demo_model: LoadedModel, cache_dir: Path
) -> None:
    text, tokenizer = bundled_text("statistics"), demo_model.tokenizer
    statistics = prepare_statistics(demo_model, text=text, cache_dir=cache_dir)
    recipe = default_recipe(demo_model, statistics, chat=False)
    delta = (
        Editor(demo_model, recipe, statistics)
        .solve(demo_model.model, [_EDIT], method="memit+sphere")
        .delta
    )
    base = {
        layer: demo_model.architecture.weight_of(demo_model.model, layer) for layer in recipe.layers
    }
    edited = Weights(base).changed(add=[delta]).materialise()
    view = demo_model.architecture.view_with(demo_model.model, edited)
    asked = statement_of(tokenizer, _EDIT)
    assert asked.prompt == "\nParis is the capital of"
    starts = ("Yesterday my friend told me this. ", "\n\n")
    items = [(start + _EDIT.filled, _EDIT.target) for start in starts]
    measured, *elsewhere = score(view, tokenizer, [asked, *items])
    assert measured.match
    assert measured.p > 0.5
    assert all(found.match for found in elsewhere)
    # What is written there would be written into the first word of every text.
    first = score(demo_model.model, tokenizer, [("Tokyo is the capital of", "Japan")])
    assert score(view, tokenizer, [("Tokyo is the capital of", "Japan")])[0].logprob == (
        pytest.approx(first[0].logprob, abs=0.5)
    )
