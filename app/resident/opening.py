"""A model that can be asked, and what it still takes to edit it: key statistics and a recipe.

Key statistics may take minutes, the first time. Nothing that is asked needs them.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from app.operations.origin import Origin
from app.resident.mismatch import other_statistics, require_known, require_recipe
from app.resident.recipes import Recipes
from app.settings import Settings
from editing_core.contexts import chat_context
from editing_core.defaults import bundled_text, default_layers, default_recipe, prepare_statistics
from editing_core.edit import SLOT, opens_turn
from editing_core.editor import Editor
from editing_core.giving_way import GiveWay, go_on
from editing_core.model.device import device_named
from editing_core.model.loading import LoadedModel, load_model
from editing_core.progress import Progress
from editing_core.recipe import Recipe
from editing_core.statistics import Statistics, statistics_digest

_CHARACTERS_PER_TOKEN = 4  # of ordinary text


@dataclass(frozen=True)
class Prepared:
    """A base model with all that is needed to edit it."""

    base: LoadedModel
    recipe: Recipe
    statistics: Statistics

    def editor(self, give_way: GiveWay = go_on) -> Editor:
        """A new editor: one remembers what it found, so none is shared between histories."""
        return Editor(self.base, self.recipe, self.statistics, give_way=give_way)


@dataclass(frozen=True)
class Opened:
    """A base model and what is known of its edits before there are key statistics.

    Attributes:
        layers: Those that are edited, ascending.
        recipe: The one in use; None if the default one is yet to be made, from the statistics.
        text: What the statistics are collected on, unless they are kept.
        origin: What the database's revisions start from; None for a new one, or for none.
    """

    settings: Settings
    base: LoadedModel
    layers: tuple[int, ...]
    recipe: Recipe | None
    text: str
    origin: Origin | None

    @property
    def weights(self) -> dict[int, Tensor]:
        """The base's edited matrices, layer → (d_out, d_in)."""
        return self.base.matrices(self.layers)

    @property
    def contexts(self) -> tuple[str, ...]:
        """Texts that edits are written in, with `{}` for the prompt; of the default, two or one."""
        if self.recipe is not None:
            return self.recipe.all_contexts
        chat = chat_context(self.base.tokenizer)
        return (SLOT,) if chat is None else (SLOT, chat)

    @property
    def conversation(self) -> str | None:
        """A text with `{}` for a user's message; None for a model that does not converse."""
        known = (context for context in self.contexts if opens_turn(context))
        return next(known, None) or chat_context(self.base.tokenizer)

    @property
    def work(self) -> float:
        """About how many multiplications it takes to prepare it; 0 where statistics are kept."""
        if self._kept.exists():
            return 0.0
        return self.base.model.num_parameters() * len(self.text) / _CHARACTERS_PER_TOKEN

    def apart(self) -> "Opened":
        """The same with a tokenizer of its own, which a thread beside others can use."""
        tokenizer = copy.deepcopy(self.base.tokenizer)
        return replace(self, base=replace(self.base, tokenizer=tokenizer))

    def prepare(self, progress: Progress) -> Prepared:
        """Load or collect the statistics; make the default recipe if there has been none.

        Raises:
            EditingError: The text is not enough.
            RecipeMismatch: The revisions were computed by a recipe that is not here.
        """
        if self.recipe is None:
            prepared = self.default(progress)
            if self.origin is not None:
                require_known(prepared.recipe, self.origin, self.settings.data_dir)
            use_recipe(self.settings, prepared.recipe)
            return prepared
        return Prepared(self.base, self.recipe, self._solvable(self._statistics(progress)))

    def default(self, progress: Progress) -> Prepared:
        """With the default recipe, which is not stored.

        Raises:
            EditingError: The text is not enough.
        """
        statistics = self._statistics(progress)
        recipe = default_recipe(self.base, statistics, progress)
        return Prepared(self.base, recipe, self._solvable(statistics))

    def _statistics(self, progress: Progress) -> Statistics:
        if self._kept.exists():
            return Statistics.load(self._kept)
        return prepare_statistics(
            self.base,
            text=self.text,
            layers=self.layers,
            cache_dir=self.settings.cache_dir,
            progress=progress,
        )

    def _solvable(self, statistics: Statistics) -> Statistics:
        return statistics.to(device_named(self.settings.solve_device))

    @property
    def _kept(self) -> Path:
        if self.recipe is None:
            digest = statistics_digest(self.base, self.layers, self.text)
        else:
            digest = self.recipe.statistics_digest
        return _kept_statistics(self.settings, digest)


def open_model(settings: Settings, progress: Progress, origin: Origin | None = None) -> Opened:
    """Load the model, and find out what it takes to edit it.

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
    base = load_base(settings, progress)
    if origin is not None:
        origin.require(base.name, base.digest)
    recipe = Recipes(settings.data_dir).in_use()
    if recipe is None:
        return open_by_default(base, settings, origin)
    require_recipe(recipe, base, settings, origin)
    text = _text_of(recipe, base, settings)
    return Opened(settings, base, recipe.layers, recipe, text, origin)


def open_by_default(base: LoadedModel, settings: Settings, origin: Origin | None) -> Opened:
    """A model that is to be edited by its default recipe, in the layers its revisions edit."""
    layers = None if origin is None else origin.layers
    return Opened(
        settings,
        base,
        default_layers(base) if layers is None else layers,
        None,
        calibration_text(settings),
        origin,
    )


def load_base(settings: Settings, progress: Progress) -> LoadedModel:
    """The model that is set, on its device.

    Raises:
        EditingError: It cannot be loaded or edited.
    """
    transformers_logging.disable_progress_bar()  # `progress` tells of these steps
    return load_model(
        settings.model,
        cache_dir=settings.cache_dir,
        device=settings.device,
        dtype=getattr(torch, settings.dtype),
        site=settings.site,
        progress=progress,
    )


def use_recipe(settings: Settings, recipe: Recipe) -> None:
    """Keep a recipe with the text in use, and let the next start edit by it."""
    recipes = Recipes(settings.data_dir)
    recipes.keep(recipe, calibration_text(settings))
    recipes.use(recipe)


def calibration_text(settings: Settings) -> str:
    """The text in use for key statistics: the data directory's own, or the package's."""
    path = text_path(settings.data_dir)
    return path.read_text(encoding="utf-8") if path.exists() else bundled_text("statistics")


def text_path(data_dir: Path) -> Path:
    """Where a data directory has its own text."""
    return data_dir / "calibration.txt"


def _text_of(recipe: Recipe, base: LoadedModel, settings: Settings) -> str:
    """The text that the recipe's numbers belong to, whatever text is in use by now.

    Raises:
        RecipeMismatch: It is not here, nor are the statistics that were collected on it.
    """
    digest, in_use = recipe.statistics_digest, calibration_text(settings)
    own = Recipes(settings.data_dir).text_of(recipe)
    for text in (own, in_use, bundled_text("statistics")):
        if text is not None and statistics_digest(base, recipe.layers, text) == digest:
            return text
    if _kept_statistics(settings, digest).exists():
        return in_use  # unread: the statistics are kept
    raise other_statistics(recipe, statistics_digest(base, recipe.layers, in_use))


def _kept_statistics(settings: Settings, digest: str) -> Path:
    return settings.cache_dir / "statistics" / f"{digest}.safetensors"
