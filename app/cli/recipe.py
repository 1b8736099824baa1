"""`errata recipe`: what recipes there are, and which one the next start edits by."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.cli.display import StepDisplay, complain, tell, tell_json
from app.cli.local import settings_of
from app.cli.options import DataDir, Json, Model

if TYPE_CHECKING:
    from app.settings import Settings
    from editing_core.recipe import Recipe

_DEFAULT = "default"
_SHOWN = 16  # digits of a digest


def recipe_command(
    digest: Annotated[
        str | None,
        typer.Argument(
            help="Of a recipe that is kept, or what it begins with; `default` makes a new one for "
            "the model that is set. Without it, all are listed."
        ),
    ] = None,
    model: Model = None,
    data_dir: DataDir = None,
    machine: Json = False,
) -> None:
    """List the recipes that are kept, or choose the one that the next start edits by.

    A server that runs goes on with the recipe it has started with.
    """
    settings = settings_of({"model": model, "data_dir": data_dir})
    from app.errors import ErrataError
    from app.kit.data_directory import guard_data_dir
    from editing_core.errors import EditingError

    try:
        guard_data_dir(Path(settings.data_dir))
        if digest is None:
            _list(settings)
            return
        chosen = _new(settings) if digest == _DEFAULT else _kept(settings, digest)
    except (ErrataError, EditingError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from error
    if machine:
        tell_json(chosen.to_json())
    else:
        tell(f"the next start edits by recipe {chosen.digest}, layers {_layers(chosen)}")


def _new(settings: "Settings") -> "Recipe":
    from app.operations.origin import origin_at
    from app.resident.preparation import use_default

    with StepDisplay(Console(stderr=True)) as steps:
        return use_default(settings, steps, origin_at(settings.database_url))


def _kept(settings: "Settings", digest: str) -> "Recipe":
    from app.resident.recipes import Recipes

    recipes = Recipes(settings.data_dir)
    recipes.in_use()  # what names no recipe is told of, not replaced
    chosen = recipes.find(digest)
    recipes.use(chosen)
    return chosen


def _list(settings: "Settings") -> None:
    from app.resident.recipes import Recipes

    recipes = Recipes(settings.data_dir)
    in_use = recipes.in_use()
    for recipe in recipes.all():
        mark = "in use" if recipe == in_use else "kept"
        model = recipe.model_digest[:_SHOWN]
        tell(f"{mark}: recipe {recipe.digest}, layers {_layers(recipe)}, model {model}")


def _layers(recipe: "Recipe") -> str:
    return ", ".join(map(str, recipe.layers))
