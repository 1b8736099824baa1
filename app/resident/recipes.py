"""The recipes of a data directory: each is kept under its digest, and one of them is in use."""

import json
import os
from pathlib import Path

from app.errors import UnusableRecipe
from editing_core.recipe import Recipe

_NAME = "recipe"


class Recipes:
    """Recipes on disk: a recipe may have taken hours to find, so none is ever overwritten.

    ``recipes/DIGEST.json`` is a recipe, ``recipes/DIGEST.txt`` the text of its key statistics, and
    ``recipe.json`` names the one in use.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "recipes"
        self._in_use = data_dir / "recipe.json"

    def in_use(self) -> Recipe | None:
        """The recipe in use; None before the first start.

        Raises:
            UnusableRecipe: A file says something else than it should.
        """
        return self.find(_named(self._in_use)) if self._in_use.exists() else None

    def find(self, digest: str) -> Recipe:
        """A recipe that is kept, by its digest or what it begins with.

        Raises:
            UnusableRecipe: Not one recipe here has such a digest, or its file was altered.
        """
        found = [path for path in self._paths() if path.stem.startswith(digest)]
        if len(found) != 1 or not digest:
            kept = ", ".join(path.stem for path in self._paths()) or "none"
            raise UnusableRecipe(
                f"recipe {digest!r} is not in {self._folder}, or is not the only one that begins "
                f"so; kept are: {kept}"
            )
        recipe = _read(found[0])
        if recipe.digest != found[0].stem:
            raise UnusableRecipe(
                f"{found[0]} was altered: its content has digest {recipe.digest}; restore it"
            )
        return recipe

    def all(self) -> list[Recipe]:
        """Every recipe that is kept, in the order of their digests.

        Raises:
            UnusableRecipe: A file was altered.
        """
        return [self.find(path.stem) for path in self._paths()]

    def text_of(self, recipe: Recipe) -> str | None:
        """The text that the recipe's key statistics were collected on, if it is there."""
        path = self._folder / f"{recipe.digest}.txt"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def keep(self, recipe: Recipe, text: str) -> None:
        """Store a recipe, and the text of its statistics."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for kind, content in (("txt", text), ("json", recipe.to_json())):
            path = self._folder / f"{recipe.digest}.{kind}"
            if not path.exists():
                _write(path, content)

    def use(self, recipe: Recipe) -> None:
        """Let the next start edit by a recipe that is kept."""
        _write(self._in_use, json.dumps({_NAME: recipe.digest}) + "\n")

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file, or the one that the file names beside it.

    Raises:
        UnusableRecipe: It holds neither.
    """
    if _NAME in _fields(path):
        return Recipes(path.parent).find(_named(path))
    return _read(path)


def _named(path: Path) -> str:
    digest = _fields(path).get(_NAME)
    if not isinstance(digest, str):
        raise UnusableRecipe(f"{path} names no recipe by its digest in {_NAME!r}")
    return digest


def _read(path: Path) -> Recipe:
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, LookupError, TypeError) as error:
        raise UnusableRecipe(f"{path} holds no recipe: {error}") from error


def _fields(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnusableRecipe(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UnusableRecipe(f"{path} holds neither a recipe nor the name of one")
    return found


def _write(path: Path, content: str) -> None:
    """Write durably; a power cut leaves the old file or the new."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
