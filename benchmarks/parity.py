"""Whether a device gives what the host gives: values, keys, deltas, and the bits of the weights."""

from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path

import torch
from torch import Tensor

from editing_core.defaults import default_layers, default_recipe
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.methods import METHOD_NAMES
from editing_core.model.loading import LoadedModel, load_model
from editing_core.recipe import Recipe
from editing_core.solution import Solution
from editing_core.statistics import Statistics, collect
from editing_core.weights.delta import Delta, Weights
from editing_core.weights.digest import weights_digest
from tests.support.tiny import build_tiny_model

_SIZES = {"hidden_size": 128, "intermediate_size": 256}
_LAYERS = 6
_STEPS = 3  # of a value: rounding grows with every step, and is to be told from a fault
_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_HALF_METHODS = ("memit+sphere", "alphaedit+sphere")
EDITS = (
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "They say that {} is the capital of", "Spain"),
)


@dataclass(frozen=True)
class Finding:
    """One comparison: what was found, and the most that is allowed."""

    what: str
    found: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether it is within the bound."""
        return self.found <= self.allowed


class Twins:
    """One random model on the host and on a device, edited by one recipe on the same statistics."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = build_tiny_model(folder / "twin", layers=_LAYERS, sizes=_SIZES)
        self._device = device
        self._host = self._load("cpu", torch.float32)
        self._statistics = collect(self._host, default_layers(self._host), _TEXT)
        recipe = default_recipe(self._host, self._statistics)
        self._recipe = replace(
            recipe,
            contexts=tuple(group[:1] for group in recipe.contexts),
            value=replace(recipe.value, steps=_STEPS),
            finetune=replace(recipe.finetune, steps=_STEPS),
        )

    def findings(self) -> list[Finding]:
        """All comparisons."""
        there = self._load(str(self._device), torch.float32)
        found = [Finding("model: digests differ", there.digest != self._host.digest, 0)]
        return found + self._in_full(there) + self._in_half() + self._bits(there)

    def _load(self, device: str, dtype: torch.dtype) -> LoadedModel:
        return load_model(
            str(self._folder), cache_dir=self._folder.parent, device=device, dtype=dtype
        )

    def _solve(self, model: LoadedModel, method: str, statistics: Statistics) -> Solution:
        editor = Editor(model, self._recipe, statistics)
        return editor.solve(model.model, EDITS, method=method)

    def _in_full(self, there: LoadedModel) -> list[Finding]:
        """The worst of all methods, for each place where edits may be solved."""
        expected = {name: self._solve(self._host, name, self._statistics) for name in METHOD_NAMES}
        found = []
        for place in dict.fromkeys((torch.device("cpu"), self._device)):
            statistics = self._statistics.to(place)
            pairs = {
                name: (self._solve(there, name, statistics), solution)
                for name, solution in expected.items()
            }
            for what, apart, allowed in _QUANTITIES:
                distances = {name: apart(*pair) for name, pair in pairs.items()}
                worst = max(distances, key=lambda name: distances[name])
                title = f"{what}, solved on {place}: worst of {len(pairs)} methods ({worst})"
                found.append(Finding(title, distances[worst], allowed))
        return found

    def _in_half(self) -> list[Finding]:
        """The device may be as far from the host as bfloat16 takes the host from float32."""
        found = []
        for method in _HALF_METHODS:
            exact = self._solve(self._host, method, self._statistics)
            here, there = (
                self._solve(self._load(place, torch.bfloat16), method, self._statistics)
                for place in ("cpu", str(self._device))
            )
            for what, apart, _ in _QUANTITIES:
                title = f"{what}, {method}, model in bfloat16"
                found.append(Finding(title, apart(there, here), apart(here, exact)))
        return found

    def _bits(self, there: LoadedModel) -> list[Finding]:
        """One delta written, and taken back, on either device: how many digests differ."""
        delta = self._solve(there, "memit+sphere", self._statistics).delta
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            here, far = (
                _digests(self._load(place, dtype), self._recipe, delta)
                for place in ("cpu", str(self._device))
            )
            differing = sum(one != other for one, other in zip(here, far, strict=True))
            name = str(dtype).removeprefix("torch.")
            found.append(Finding(f"{name}: digests that differ", differing, 0))
            found.append(Finding(f"{name}: undone is not the base", far[0] != far[2], 0))
        return found


def _digests(model: LoadedModel, recipe: Recipe, delta: Delta) -> list[str]:
    """Of the base, of the edited weights, and of those undone."""
    base = Weights(model.matrices(recipe.layers))
    edited = base.changed(add=[delta])
    states = (base, edited, edited.changed(subtract=[delta]))
    return [weights_digest(state.materialise()) for state in states]


def _keys_apart(found: Solution, expected: Solution) -> float:
    return max(
        _apart(part.keys, expected.delta.layers[layer].keys)
        for layer, part in found.delta.layers.items()
    )


def _values_apart(found: Solution, expected: Solution) -> float:
    pairs = zip(found.values, expected.values, strict=True)
    return max((_apart(one.z.cpu(), other.z) for one, other in pairs), default=0.0)


def _deltas_apart(found: Solution, expected: Solution) -> float:
    return max(
        _apart(part.update(), expected.delta.layers[layer].update())
        for layer, part in found.delta.layers.items()
    )


def _apart(found: Tensor, expected: Tensor) -> float:
    distance = float((found - expected).norm() / expected.norm())
    return distance if isfinite(distance) else inf


# What is compared, and how far apart it may be in float32: what the order of sums may change.
_QUANTITIES = (
    ("keys", _keys_apart, 1e-5),
    ("values", _values_apart, 1e-3),
    ("deltas", _deltas_apart, 1e-2),
)
