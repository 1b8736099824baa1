"""From settings to a model that can be edited: base, statistics and recipe."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from app.permissions import make_private
from app.settings import Settings
from editing_core.calibration import Calibration, calibrate
from editing_core.contexts import chat_context
from editing_core.edit import opens_turn
from editing_core.editor import Editor
from editing_core.evaluation.record import Record
from editing_core.giving_way import GiveWay, go_on
from editing_core.model.device import device_named
from editing_core.model.loading import LoadedModel, load_model
from editing_core.preparation import (
    bundled_text,
    candidate_layers,
    check_layers,
    default_recipe,
    prepare_statistics,
)
from editing_core.progress import Progress
from editing_core.recipe import Recipe
from editing_core.statistics import Statistics, keep_part

_ASIDE = "recipe-"
_REFERENCE_CHARACTERS = 6000  # of the text that trials are charged by: seconds, not minutes


@dataclass(frozen=True)
class Prepared:
    """A base model with all that is needed to edit it."""

    base: LoadedModel
    recipe: Recipe
    statistics: Statistics

    def editor(self, give_way: GiveWay = go_on) -> Editor:
        """A new editor: one remembers what it found, so none is shared between histories."""
        return Editor(self.base, self.recipe, self.statistics, give_way=give_way)

    @property
    def weights(self) -> dict[int, Tensor]:
        """The base's edited matrices, layer → (d_out, d_in)."""
        weight_of = self.base.architecture.weight_of
        return {layer: weight_of(self.base.model, layer) for layer in self.recipe.layers}

    @property
    def conversation(self) -> str | None:
        """A text with `{}` for a user's message; None for a model that does not converse."""
        known = (context for context in self.recipe.all_contexts if opens_turn(context))
        return next(known, None) or chat_context(self.base.tokenizer)


def prepare(settings: Settings, progress: Progress) -> Prepared:
    """Load the model, and collect statistics and make a recipe unless they are there already.

    Raises:
        EditingError: The model cannot be loaded or edited; the message says why.
    """
    base, text = _load(settings, progress), _calibration_text(settings)
    recipe = _stored_recipe(settings.data_dir, base)
    layers = None if recipe is None else recipe.layers
    statistics = prepare_statistics(
        base, text=text, layers=layers, cache_dir=settings.cache_dir, progress=progress
    )
    if recipe is None or recipe.statistics_digest != statistics.digest:
        statistics = prepare_statistics(
            base, text=text, cache_dir=settings.cache_dir, progress=progress
        )
        recipe = default_recipe(base, statistics, progress)
    _store(settings.data_dir, recipe)
    return Prepared(base, recipe, statistics.to(device_named(settings.solve_device)))


@dataclass(frozen=True)
class CalibrationOptions:
    """What `errata calibrate` is asked for.

    Attributes:
        text: Ordinary text to collect key statistics on; None for the one in use.
        probes: Facts to try recipes on.
        layers: The layers to edit; None to choose them.
        chat: Whether to edit in conversation, too, where the model has a chat template.
    """

    text: str | None
    probes: Sequence[Record]
    layers: tuple[int, ...] | None
    chat: bool


def calibrate_model(
    settings: Settings, options: CalibrationOptions, progress: Progress
) -> Calibration:
    """Find the model's recipe, on the user's own text; the next start edits by it.

    Raises:
        EditingError: The model cannot be loaded or edited, or the text is not enough.
    """
    base = _load(settings, progress)
    text = _calibration_text(settings) if options.text is None else options.text
    windows = candidate_layers(base) if options.layers is None else (options.layers,)
    for window in windows:
        check_layers(base, window)
    every = sorted({layer for window in windows for layer in window})
    whole = prepare_statistics(
        base, text=text, layers=every, cache_dir=settings.cache_dir, progress=progress
    )
    start = default_recipe(base, whole, progress, chat=options.chat)
    reference = bundled_text("reference")[:_REFERENCE_CHARACTERS]
    found = calibrate(base, whole, start, windows, options.probes, reference, progress)
    directory = settings.cache_dir / "statistics"
    statistics = keep_part(whole, base, found.recipe.layers, text, directory)
    recipe = replace(found.recipe, statistics_digest=statistics.digest)
    make_private(settings.data_dir)
    if options.text is not None:
        _text_path(settings.data_dir).write_text(text, encoding="utf-8")
    _store(settings.data_dir, recipe)
    found = replace(found, recipe=recipe)
    evidence = json.dumps(found.to_record(), indent=1, ensure_ascii=False)
    (settings.data_dir / "calibration.json").write_text(evidence, encoding="utf-8")
    return found


def _load(settings: Settings, progress: Progress) -> LoadedModel:
    transformers_logging.disable_progress_bar()  # `progress` tells of these steps
    return load_model(
        settings.model,
        cache_dir=settings.cache_dir,
        device=settings.device,
        dtype=getattr(torch, settings.dtype),
        site=settings.site,
        progress=progress,
    )


def _calibration_text(settings: Settings) -> str:
    path = _text_path(settings.data_dir)
    return path.read_text(encoding="utf-8") if path.exists() else bundled_text("statistics")


def _stored_recipe(data_dir: Path, base: LoadedModel) -> Recipe | None:
    """The recipe in use, or else the last one of this model that was set aside."""
    aside = sorted(data_dir.glob(f"{_ASIDE}*.json"), key=_written, reverse=True)
    found = (_read(path) for path in (_recipe_path(data_dir), *aside))
    fitting = (one for one in found if one is not None and one.model_digest == base.digest)
    return next(fitting, None)


def _store(data_dir: Path, recipe: Recipe) -> None:
    """Put a recipe in use; the one before is set aside, for it may have taken hours to find."""
    path = _recipe_path(data_dir)
    former = _read(path)
    if former is not None and former.digest == recipe.digest:
        return
    if former is not None:
        path.replace(data_dir / f"{_ASIDE}{former.digest[:12]}.json")
    partial = path.with_suffix(".partial")
    partial.write_text(recipe.to_json(), encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> Recipe | None:
    return Recipe.from_json(path.read_text(encoding="utf-8")) if path.exists() else None


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _recipe_path(data_dir: Path) -> Path:
    return data_dir / "recipe.json"


def _text_path(data_dir: Path) -> Path:
    return data_dir / "calibration.txt"
