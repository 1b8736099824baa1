"""From settings to a model that can be edited: base, statistics and recipe."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from app.settings import Settings
from editing_core.editor import Editor
from editing_core.model.loading import LoadedModel, load_model
from editing_core.preparation import bundled_text, default_recipe, prepare_statistics
from editing_core.progress import Progress
from editing_core.recipe import Recipe
from editing_core.statistics import Statistics


@dataclass(frozen=True)
class Prepared:
    """A base model with all that is needed to edit it."""

    base: LoadedModel
    recipe: Recipe
    statistics: Statistics

    def editor(self) -> Editor:
        """A new editor: one remembers what it found, so none is shared between histories."""
        return Editor(self.base, self.recipe, self.statistics)

    @property
    def weights(self) -> dict[int, Tensor]:
        """The base's edited matrices, layer → (d_out, d_in)."""
        weight_of = self.base.architecture.weight_of
        return {layer: weight_of(self.base.model, layer) for layer in self.recipe.layers}


def prepare(settings: Settings, progress: Progress) -> Prepared:
    """Load the model, and collect statistics and make a recipe unless they are there already.

    Raises:
        EditingError: The model cannot be loaded or edited; the message says why.
    """
    base = _load(settings, progress)
    statistics = prepare_statistics(
        base, text=_calibration_text(settings), cache_dir=settings.cache_dir, progress=progress
    )
    recipe = _stored_recipe(settings.data_dir, statistics.digest)
    if recipe is None:
        recipe = default_recipe(base, statistics, progress)
        _store(settings.data_dir, recipe)
    return Prepared(base, recipe, statistics)


def calibrate(settings: Settings, text: str, progress: Progress) -> Recipe:
    """Collect key statistics on the user's own text; the next start edits by them.

    Raises:
        EditingError: The model cannot be loaded, or the text is not enough.
    """
    base = _load(settings, progress)
    statistics = prepare_statistics(
        base, text=text, cache_dir=settings.cache_dir, progress=progress
    )
    recipe = default_recipe(base, statistics, progress)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    _text_path(settings.data_dir).write_text(text, encoding="utf-8")
    _store(settings.data_dir, recipe)
    return recipe


def _load(settings: Settings, progress: Progress) -> LoadedModel:
    transformers_logging.disable_progress_bar()  # `progress` tells of these steps
    return load_model(
        settings.model,
        cache_dir=settings.cache_dir,
        device=settings.device,
        dtype=getattr(torch, settings.dtype),
        progress=progress,
    )


def _calibration_text(settings: Settings) -> str:
    path = _text_path(settings.data_dir)
    return path.read_text(encoding="utf-8") if path.exists() else bundled_text("statistics")


def _stored_recipe(data_dir: Path, statistics_digest: str) -> Recipe | None:
    """The recipe of this data directory, if it was made for these statistics."""
    path = _recipe_path(data_dir)
    if not path.exists():
        return None
    recipe = Recipe.from_json(path.read_text(encoding="utf-8"))
    return recipe if recipe.statistics_digest == statistics_digest else None


def _store(data_dir: Path, recipe: Recipe) -> None:
    path = _recipe_path(data_dir)
    partial = path.with_suffix(".partial")
    partial.write_text(recipe.to_json(), encoding="utf-8")
    partial.replace(path)


def _recipe_path(data_dir: Path) -> Path:
    return data_dir / "recipe.json"


def _text_path(data_dir: Path) -> Path:
    return data_dir / "calibration.txt"
