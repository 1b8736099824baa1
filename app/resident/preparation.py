"""From settings to a model that can be edited, and to a recipe that was tried."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.kit.permissions import make_private
from app.operations.origin import Origin
from app.resident.mismatch import other_layers
from app.resident.opening import (
    Prepared,
    calibration_text,
    load_base,
    open_by_default,
    open_model,
    text_path,
    use_recipe,
)
from app.resident.recipes import Recipes
from app.settings import Settings
from editing_core.benchmark.record import Record
from editing_core.calibration import Calibration, calibrate
from editing_core.defaults import (
    bundled_text,
    candidate_layers,
    check_layers,
    default_recipe,
    prepare_statistics,
)
from editing_core.model.loading import LoadedModel
from editing_core.progress import Progress
from editing_core.recipe import Recipe
from editing_core.statistics import keep_part

_REFERENCE_CHARACTERS = 6000  # of the text that trials are charged by: seconds, not minutes


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
    return open_model(settings, progress, origin).prepare(progress)


def use_default(settings: Settings, progress: Progress, origin: Origin | None) -> Recipe:
    """Make a recipe for the model as it is set now, and let the next start edit by it.

    Raises:
        EditingError: The model cannot be loaded or edited; the message says why.
        BaseMismatch: The database belongs to another model.
        UnusableRecipe: A recipe's file is damaged.
    """
    base = load_base(settings, progress)
    if origin is not None:
        origin.require(base.name, base.digest)
    Recipes(settings.data_dir).in_use()  # what names no recipe is told of, not replaced
    recipe = open_by_default(base, settings, origin).default(progress).recipe
    use_recipe(settings, recipe)
    return recipe


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
    base = load_base(settings, progress)
    text = calibration_text(settings) if options.text is None else options.text
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
    text_path(settings.data_dir).write_text(text, encoding="utf-8")
    Recipes(settings.data_dir).in_use()  # what names no recipe is told of, not replaced
    use_recipe(settings, recipe)
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
    if origin is not None:
        return (origin.layers,)
    return candidate_layers(base)
