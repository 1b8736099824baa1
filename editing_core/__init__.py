"""The editing core: from facts to an exact change of a model's weights, without any server.

``docs/library.md`` shows it. Names are found when they are asked for: those who want an error or
a progress bar do not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing_core.defaults import bundled_text, default_recipe, prepare_statistics
    from editing_core.edit import Edit
    from editing_core.editor import Editor
    from editing_core.errors import EditingError
    from editing_core.measures.probe import score
    from editing_core.methods import METHOD_NAMES
    from editing_core.model.loading import load_model
    from editing_core.recipe import Recipe
    from editing_core.weights.delta import Delta, Weights

__all__ = [
    "METHOD_NAMES",
    "Delta",
    "Edit",
    "EditingError",
    "Editor",
    "Recipe",
    "Weights",
    "bundled_text",
    "default_recipe",
    "load_model",
    "prepare_statistics",
    "score",
]

_HOMES = {
    "defaults": ("bundled_text", "default_recipe", "prepare_statistics"),
    "edit": ("Edit",),
    "editor": ("Editor",),
    "errors": ("EditingError",),
    "measures.probe": ("score",),
    "methods": ("METHOD_NAMES",),
    "model.loading": ("load_model",),
    "recipe": ("Recipe",),
    "weights.delta": ("Delta", "Weights"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
