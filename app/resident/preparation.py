"""From settings to a model that can be edited: base, statistics and recipe."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from app.permissions import make_private
from app.resident.mismatch import (
    other_layers,
    other_statistics,
    require_known,
    require_recipe,
)
from app.resident.recipes import Recipes
from app.revisions.origin import Origin
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
from editing_core.statistics import Statistics, keep_part, statistics_digest

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


def prepare(settings: Settings, progress: Progress, origin: Origin | None = None) -> Prepared:
    """Load the model and what the recipe in use needs; make a recipe if there has been none.

    Args:
        settings: Which model, and where its recipe and caches are.
        progress: Told of long steps.
        origin: What the database's revisions start from; None for a new one, or for none.

    Raises:
        EditingError: The model cannot be loaded or edited; the message says why.
        BaseMismatch: The database belongs to another model.
        RecipeMismatch: The recipe in use is for another model, text or layers than those set.
        UnusableRecipe: A recipe's file is damaged.
    """
    base, recipes = _load(settings, progress), Recipes(settings.data_dir)
    if origin is not None:
        origin.require(base.name, base.digest)
    recipe = recipes.in_use()
    if recipe is not None:
        require_recipe(recipe, base, settings, origin)
        statistics = _statistics_of(recipe, base, settings, progress)
        return Prepared(base, recipe, statistics.to(device_named(settings.solve_device)))
    prepared = _by_default(base, settings, progress, origin)
    if origin is not None:
        require_known(prepared.recipe, origin, settings.data_dir)
    _use(settings, prepared.recipe)
    return prepared


def use_default(settings: Settings, progress: Progress, origin: Origin | None) -> Recipe:
    """Make a recipe for the model as it is set now, and let the next start edit by it.

    Raises:
        EditingError: The model cannot be loaded or edited; the message says why.
        BaseMismatch: The database belongs to another model.
        UnusableRecipe: A recipe's file is damaged.
    """
    base = _load(settings, progress)
    if origin is not None:
        origin.require(base.name, base.digest)
    Recipes(settings.data_dir).in_use()  # one of an earlier release is kept, too
    recipe = _by_default(base, settings, progress, origin).recipe
    _use(settings, recipe)
    return recipe


def _by_default(
    base: LoadedModel, settings: Settings, progress: Progress, origin: Origin | None
) -> Prepared:
    layers = None if origin is None else origin.layers
    statistics = prepare_statistics(
        base,
        text=_calibration_text(settings),
        layers=layers,
        cache_dir=settings.cache_dir,
        progress=progress,
    )
    recipe = default_recipe(base, statistics, progress)
    return Prepared(base, recipe, statistics.to(device_named(settings.solve_device)))


def _use(settings: Settings, recipe: Recipe) -> None:
    recipes = Recipes(settings.data_dir)
    recipes.keep(recipe, _calibration_text(settings))
    recipes.use(recipe)


def _statistics_of(
    recipe: Recipe, base: LoadedModel, settings: Settings, progress: Progress
) -> Statistics:
    """The key statistics that the recipe's numbers belong to, whatever text is in use by now."""
    digest = recipe.statistics_digest
    kept = settings.cache_dir / "statistics" / f"{digest}.safetensors"
    if kept.exists():
        return Statistics.load(kept)
    own = Recipes(settings.data_dir).text_of(recipe)
    for text in (own, _calibration_text(settings), bundled_text("statistics")):
        if text is not None and statistics_digest(base, recipe.layers, text) == digest:
            return prepare_statistics(
                base,
                text=text,
                layers=recipe.layers,
                cache_dir=settings.cache_dir,
                progress=progress,
            )
    found = statistics_digest(base, recipe.layers, _calibration_text(settings))
    raise other_statistics(recipe, found)


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
    settings: Settings,
    options: CalibrationOptions,
    progress: Progress,
    origin: Origin | None = None,
) -> Calibration:
    """Find the model's recipe, on the user's own text; the next start edits by it.

    Where there are revisions already, only the layers that they edit are tried.

    Raises:
        EditingError: The model cannot be loaded or edited, or the text is not enough.
        BaseMismatch: The database belongs to another model.
        RecipeMismatch: Its revisions edit other layers than those asked for.
        UnusableRecipe: A recipe's file is damaged.
    """
    base = _load(settings, progress)
    text = _calibration_text(settings) if options.text is None else options.text
    windows = _windows(base, options, origin)
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
    _text_path(settings.data_dir).write_text(text, encoding="utf-8")
    Recipes(settings.data_dir).in_use()  # one of an earlier release is kept, too
    _use(settings, recipe)
    found = replace(found, recipe=recipe)
    evidence = json.dumps(found.to_record(), indent=1, ensure_ascii=False)
    (settings.data_dir / "calibration.json").write_text(evidence, encoding="utf-8")
    return found


def _windows(
    base: LoadedModel, options: CalibrationOptions, origin: Origin | None
) -> Sequence[tuple[int, ...]]:
    if origin is not None:
        origin.require(base.name, base.digest)
        if options.layers is not None and not origin.edits(options.layers):
            raise other_layers(options.layers, origin)
    if options.layers is not None:
        return (options.layers,)
    if origin is not None and origin.layers is not None:
        return (origin.layers,)
    return candidate_layers(base)


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


def _text_path(data_dir: Path) -> Path:
    return data_dir / "calibration.txt"
