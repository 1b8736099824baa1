"""From a loaded model to one that can be edited: its statistics and its recipe."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from editing_core.contexts import chat_context, generate_contexts
from editing_core.errors import UnsupportedModel
from editing_core.model.loading import LoadedModel
from editing_core.progress import Progress, silent
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, ValueSettings
from editing_core.statistics import Statistics, cached_statistics

# Published recipes edit blocks at this part of the depth (4 to 8 of 30).
_FIRST, _LAST = 4 / 30, 8 / 30
# λ, τ and L2 are absolute; these ratios to the keys' mean energy give the values that were tuned
# on the demo model (τ 2e-2, L2 1), and move with the scale of another model's keys.
_TAU_PER_EIGENVALUE = 0.9
_L2_PER_ENERGY = 0.03
_PATIENCE = 2
_SEED = 0


def bundled_path(name: str) -> Path:
    """A file shipped with the package."""
    return Path(str(files("editing_core") / "data" / name))


def bundled_text(name: str) -> str:
    """A text shipped with the package, such as ``statistics`` or ``canaries``."""
    return bundled_path(f"{name}.txt").read_text(encoding="utf-8")


def default_layers(model: LoadedModel) -> tuple[int, ...]:
    """The layers to edit when nobody chose any."""
    depth = model.architecture.layers
    return tuple(range(int(depth * _FIRST), int(depth * _LAST) + 1))


def candidate_layers(model: LoadedModel) -> tuple[tuple[int, ...], ...]:
    """Windows of layers to try where the default may not be the best: it, earlier, and deeper.

    All as long as the default, and below the last block, which a value needs above it.
    """
    default = default_layers(model)
    size, depth = len(default), model.architecture.layers
    step = max(size // 2, 1)
    starts = (default[0] + shift * step for shift in (0, -1, 1, 2, 3))
    windows = (tuple(range(start, start + size)) for start in starts)
    return tuple(w for w in windows if w[0] >= 0 and w[-1] < depth - 1)


def check_layers(model: LoadedModel, layers: Sequence[int]) -> None:
    """Refuse layers that the model does not have, or that leave none above them.

    Raises:
        UnsupportedModel: The message says which may be edited.
    """
    last = model.architecture.layers - 2
    if layers[-1] > last:
        raise UnsupportedModel(
            f"layer {layers[-1]} cannot be edited: {model.name} has {last + 2} blocks, of which "
            f"0 to {last} may be, for a value needs one above them"
        )


def prepare_statistics(
    model: LoadedModel,
    *,
    text: str,
    cache_dir: Path,
    layers: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Statistics:
    """Key second moments of some layers on ``text``, from the cache if they are there.

    By default, of the default layers.
    """
    layers = default_layers(model) if layers is None else layers
    return cached_statistics(model, layers, text, cache_dir / "statistics", progress)


def default_recipe(
    model: LoadedModel,
    statistics: Statistics,
    progress: Progress = silent,
    *,
    chat: bool = True,
) -> Recipe:
    """A recipe for a model nobody tuned: contexts from the model, thresholds from its keys.

    With ``chat``, a model that has a chat template gets a context in that form. Values stop early:
    over 1,000 edits that keeps more of the facts and of the model (docs/results.md).
    """
    energy = _mean([float(moment.eigenvalues.sum()) for moment in statistics.layers.values()])
    eigenvalue = energy / model.architecture.key_width
    return Recipe(
        model_digest=model.digest,
        statistics_digest=statistics.digest,
        layers=tuple(sorted(statistics.layers)),
        contexts=default_contexts(model, progress, chat=chat),
        value=ValueSettings(patience=_PATIENCE),
        alphaedit=AlphaEditSettings(
            tau=_TAU_PER_EIGENVALUE * eigenvalue, l2=_L2_PER_ENERGY * energy
        ),
    )


def default_contexts(
    model: LoadedModel, progress: Progress = silent, *, chat: bool = True
) -> tuple[tuple[str, ...], ...]:
    """Groups of context templates: the bare prompt, generated texts, and a conversation."""
    groups = generate_contexts(model.model, model.tokenizer, seed=_SEED, progress=progress)
    context = chat_context(model.tokenizer) if chat else None
    return groups if context is None else (*groups, (context,))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
