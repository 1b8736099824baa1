"""A recipe may have taken hours to find: no start puts another in its place without a word."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import BaseMismatch, RecipeMismatch, UnusableRecipe
from app.operations.origin import Origin
from app.resident.preparation import (
    CalibrationOptions,
    calibrate_model,
    prepare,
    use_default,
)
from app.resident.recipes import Recipes
from app.settings import Settings
from editing_core.defaults import prepare_statistics
from editing_core.progress import silent
from editing_core.recipe import Recipe
from editing_core.settings import MemitSettings, SphereSettings
from tests.acceptance.server import calibrate_quickly
from tests.support.tiny import build_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A model of eight blocks, and a short text for its statistics."""
    data = tmp_path / "data"
    calibrate_quickly(data)
    model = build_tiny_model(tmp_path / "tiny", layers=8)
    return Settings(data_dir=data, model=str(model))


def _calibrated(settings: Settings) -> Recipe:
    """A recipe as `errata calibrate` would have found it: other layers, another λ."""
    prepared = prepare(settings, silent)
    text = (settings.data_dir / "calibration.txt").read_text()
    cache = settings.cache_dir
    found = prepare_statistics(prepared.base, text=text, layers=(3, 4), cache_dir=cache)
    recipe = replace(
        prepared.recipe,
        layers=(3, 4),
        memit=MemitSettings(weight=500.0),
        statistics_digest=found.digest,
    )
    recipes = Recipes(settings.data_dir)
    recipes.keep(recipe, text)
    recipes.use(recipe)
    return recipe


def _origin(settings: Settings, recipe: Recipe) -> Origin:
    return Origin(settings.model, recipe.model_digest, recipe.layers, recipe.digest)


def test_a_start_with_another_number_format_is_refused_and_costs_nothing(
    settings: Settings,
) -> None:
    recipe = _calibrated(settings)
    other = settings.model_copy(update={"dtype": "bfloat16"})
    with pytest.raises(RecipeMismatch) as refused:
        prepare(other, silent)
    told = str(refused.value)
    for word in (recipe.digest, recipe.model_digest, "bfloat16", "errata recipe default"):
        assert word in told
    assert prepare(settings, silent).recipe == recipe


def test_a_start_with_another_model_is_refused_and_costs_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    recipe = _calibrated(settings)
    other = build_tiny_model(tmp_path / "other", seed=1, layers=8)
    with pytest.raises(RecipeMismatch, match="ERRATA_MODEL"):
        prepare(settings.model_copy(update={"model": str(other)}), silent)
    assert prepare(settings, silent).recipe == recipe


def test_another_text_in_use_changes_neither_recipe_nor_statistics(settings: Settings) -> None:
    recipe = _calibrated(settings)
    before = prepare(settings, silent).statistics
    text = settings.data_dir / "calibration.txt"
    text.write_text(text.read_text() + " ")
    found = prepare(settings, silent)
    assert (found.recipe, found.statistics.digest) == (recipe, before.digest)
    for path in (settings.cache_dir / "statistics").iterdir():
        path.unlink()
    again = prepare(settings, silent)  # on the text that was kept with the recipe
    assert (again.recipe, again.statistics.digest) == (recipe, before.digest)


def test_statistics_that_cannot_be_had_again_are_told(settings: Settings) -> None:
    recipe = _calibrated(settings)
    (settings.data_dir / "recipes" / f"{recipe.digest}.txt").unlink()
    (settings.data_dir / "calibration.txt").write_text("Another text.")
    for path in (settings.cache_dir / "statistics").iterdir():
        path.unlink()
    with pytest.raises(RecipeMismatch, match=recipe.statistics_digest):
        prepare(settings, silent)
    assert Recipes(settings.data_dir).in_use() == recipe


def test_a_recipe_for_other_layers_than_the_revisions_edit_is_refused(settings: Settings) -> None:
    default = prepare(settings, silent).recipe
    recipe = _calibrated(settings)
    with pytest.raises(RecipeMismatch) as refused:
        prepare(settings, silent, _origin(settings, default))
    for word in (recipe.digest, "3, 4", default.digest, "errata recipe DIGEST"):
        assert word in str(refused.value)
    Recipes(settings.data_dir).use(Recipes(settings.data_dir).find(default.digest[:12]))
    assert prepare(settings, silent, _origin(settings, default)).recipe == default


def test_calibration_tries_the_layers_that_the_revisions_edit(settings: Settings) -> None:
    default = prepare(settings, silent).recipe
    origin = _origin(settings, default)
    wrong = CalibrationOptions(text=None, probes=[], layers=(3, 4), chat=False)
    with pytest.raises(RecipeMismatch, match="--layers asks for layers 3, 4"):
        calibrate_model(settings, wrong, silent, origin)
    with pytest.raises(BaseMismatch):
        calibrate_model(settings, wrong, silent, replace(origin, model_digest="0" * 64))


def test_a_data_directory_that_lost_its_recipe_does_not_replace_it(
    settings: Settings, tmp_path: Path
) -> None:
    recipe = replace(prepare(settings, silent).recipe, sphere=SphereSettings(alpha=0.7))
    data = tmp_path / "fresh"
    calibrate_quickly(data)
    fresh = settings.model_copy(update={"data_dir": data})
    with pytest.raises(RecipeMismatch, match="copy recipe"):
        prepare(fresh, silent, _origin(settings, recipe))
    assert not (data / "recipe.json").exists()
    chosen = use_default(fresh, silent, _origin(settings, recipe))
    assert prepare(fresh, silent, _origin(settings, recipe)).recipe == chosen


def test_one_command_goes_on_with_another_model(settings: Settings) -> None:
    recipe = _calibrated(settings)
    other = settings.model_copy(update={"dtype": "bfloat16"})
    chosen = use_default(other, silent, None)
    assert prepare(other, silent).recipe == chosen != recipe
    kept = Recipes(settings.data_dir)
    assert recipe in kept.all()
    kept.use(kept.find(recipe.digest))
    assert prepare(settings, silent).recipe == recipe


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"recipe": 1}', '{"recipe": "0123"}'])
def test_a_damaged_name_is_told_and_not_replaced(settings: Settings, content: str) -> None:
    prepare(settings, silent)
    (settings.data_dir / "recipe.json").write_text(content)
    with pytest.raises(UnusableRecipe):
        prepare(settings, silent)
    assert (settings.data_dir / "recipe.json").read_text() == content


def test_a_recipe_that_was_altered_is_told(settings: Settings) -> None:
    recipe = prepare(settings, silent).recipe
    path = settings.data_dir / "recipes" / f"{recipe.digest}.json"
    path.write_text(path.read_text().replace('"alpha":0.8', '"alpha":0.7'))
    with pytest.raises(UnusableRecipe, match="was altered"):
        prepare(settings, silent)
