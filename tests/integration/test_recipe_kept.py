"""A recipe may have taken hours to find: loading another model by mistake does not cost it."""

from pathlib import Path

import pytest

from app.resident.preparation import prepare
from app.settings import Settings
from editing_core.progress import silent
from tests.acceptance.server import calibrate_quickly
from tests.tiny import build_tiny_model


@pytest.mark.usefixtures("one_thread")
def test_the_recipe_of_a_model_is_back_after_another_was_loaded(tmp_path: Path) -> None:
    data = tmp_path / "data"
    calibrate_quickly(data)
    one, other = (
        Settings(data_dir=data, model=str(build_tiny_model(tmp_path / name, seed=seed)))
        for seed, name in enumerate(("one", "other"))
    )
    recipe = prepare(one, silent).recipe
    in_use = (data / "recipe.json").read_text()
    calibrated = in_use.replace('"alpha":0.8', '"alpha":0.7')  # as if found by trials
    assert calibrated != in_use
    (data / "recipe.json").write_text(calibrated)
    found = prepare(one, silent).recipe
    assert found.digest != recipe.digest
    assert prepare(other, silent).recipe.model_digest != found.model_digest
    assert prepare(one, silent).recipe.digest == found.digest
    assert (data / "recipe.json").read_text() == calibrated
