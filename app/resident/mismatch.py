"""Recipes that do not go with what is set or recorded, and what to do about it in words."""

from collections.abc import Sequence
from pathlib import Path

from app.errors import RecipeMismatch
from app.operations.origin import Origin
from app.settings import Settings
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe

_GO_ON = "to go on with a new recipe run `errata recipe default` (or `errata calibrate`)"
_KEPT = "the former stays in recipes/"


def require_recipe(
    recipe: Recipe, base: LoadedModel, settings: Settings, origin: Origin | None
) -> None:
    """Let a recipe go on that was made for this model and these revisions.

    Raises:
        RecipeMismatch: It was made for others.
    """
    if recipe.model_digest != base.digest:
        raise RecipeMismatch(
            f"recipe.json names recipe {recipe.digest}, made for a model with digest "
            f"{recipe.model_digest}, but ERRATA_MODEL={settings.model} with "
            f"ERRATA_DTYPE={settings.dtype} has digest {base.digest}: set both as they were, or "
            f"{_GO_ON}; {_KEPT}"
        )
    if origin is not None and not origin.edits(recipe.layers):
        raise other_layers(recipe.layers, origin, recipe)


def require_known(recipe: Recipe, origin: Origin, data_dir: Path) -> None:
    """Let a default recipe go on that the revisions were computed by so far.

    Raises:
        RecipeMismatch: They were computed by another, which is not here.
    """
    if origin.recipe != recipe.digest:
        raise RecipeMismatch(
            f"the revisions of this database were computed by recipe {origin.recipe}, but "
            f"{data_dir} has no recipe.json and the default for this model is {recipe.digest}: "
            f"copy recipe.json and recipes/ from the data directory that has them, or {_GO_ON}"
        )


def other_layers(
    layers: Sequence[int], origin: Origin, recipe: Recipe | None = None
) -> RecipeMismatch:
    """Layers that are not those that the revisions of a database edit."""
    whose = "--layers asks for" if recipe is None else f"recipe {recipe.digest} edits"
    return RecipeMismatch(
        f"{whose} layers {_listed(layers)}, but the revisions of this database edit layers "
        f"{_listed(origin.layers)}, and were computed by recipe {origin.recipe}: edit those "
        "(`errata recipe` lists what is kept and `errata recipe DIGEST` goes back to one), or set "
        "another ERRATA_DATA_DIR and database"
    )


def other_statistics(recipe: Recipe, found: str) -> RecipeMismatch:
    """Key statistics that cannot be had again."""
    return RecipeMismatch(
        f"recipe {recipe.digest} belongs to key statistics {recipe.statistics_digest}, which are "
        f"not in the cache, and the text in use gives {found}: set ERRATA_SITE as it was and put "
        f"the text it was calibrated on into calibration.txt, or {_GO_ON}; {_KEPT}"
    )


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
