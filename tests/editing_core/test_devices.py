"""The model on one device, statistics on another, deltas on the host: no two of them mix."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editing_core.benchmark.reading import read_records
from editing_core.calibration import calibrate, sweep
from editing_core.defaults import bundled_path, default_recipe
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.errors import DeviceUnavailable
from editing_core.measures.collision import key_collisions
from editing_core.measures.energy import RowGram
from editing_core.methods import METHOD_NAMES
from editing_core.model.loading import LoadedModel, load_model
from editing_core.recipe import Recipe
from editing_core.solution import Solution
from editing_core.statistics import Statistics, collect
from editing_core.weights.delta import Delta, Factors, Weights
from editing_core.weights.digest import weights_digest
from tests.support.far import far_device
from tests.support.tiny import build_tiny_model

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "They say that {} is the capital of", "Spain"),
]
_BESIDE = [Edit("c", "Rome", "{} is a city in", "Spain")]
_LAYERS = (1, 2)


@dataclass(frozen=True)
class _Site:
    """One model here and far away, with what edits of it need."""

    near: LoadedModel
    far: LoadedModel
    statistics: Statistics
    recipe: Recipe

    def solve(self, model: LoadedModel, method: str, statistics: Statistics) -> Solution:
        past = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
        return Editor(model, self.recipe, statistics).solve(
            model.model,
            _EDITS,
            method=method,
            past_keys=dict.fromkeys(self.recipe.layers, past),
            beside=_BESIDE,
        )

    def weights(self, model: LoadedModel) -> dict[int, Tensor]:
        weight_of = model.architecture.weight_of
        return {layer: weight_of(model.model, layer) for layer in self.recipe.layers}


@pytest.fixture(autouse=True)
def device() -> Iterator[torch.device]:
    with far_device() as device:
        yield device


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> _Site:
    folder = build_tiny_model(tmp_path_factory.mktemp("device") / "tiny")
    near = load_model(str(folder), cache_dir=folder.parent)
    with far_device() as device:
        far = load_model(str(folder), cache_dir=folder.parent, device=str(device))
    statistics = collect(near, _LAYERS, _TEXT)
    recipe = default_recipe(near, statistics)
    recipe = replace(
        recipe,
        contexts=tuple(group[:1] for group in recipe.contexts[:2]),
        value=replace(recipe.value, steps=2),
        finetune=replace(recipe.finetune, steps=2),
    )
    return _Site(near, far, statistics, recipe)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() - expected).norm() / expected.norm())


def _assert_same_change(found: Delta, expected: Delta) -> None:
    assert found.layers.keys() == expected.layers.keys()
    for layer, part in found.layers.items():
        assert _error(part.update(), expected.layers[layer].update()) < 1e-4
        assert _error(part.keys, expected.layers[layer].keys) < 1e-5


def test_tensors_of_two_devices_do_not_mix(device: torch.device) -> None:
    here, there = torch.ones(3), torch.ones(3, device=device)
    with pytest.raises(RuntimeError, match="expected all tensors on one device"):
        here + there
    assert float((there + here.to(device)).sum()) == 6


def test_a_model_has_its_digest_on_every_device(site: _Site, device: torch.device) -> None:
    assert site.far.device == device
    assert site.far.digest == site.near.digest


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_model_elsewhere_is_edited_as_one_on_the_host(site: _Site, method: str) -> None:
    found, expected = (site.solve(m, method, site.statistics) for m in (site.far, site.near))
    _assert_same_change(found.delta, expected.delta)
    for value, other in zip(found.values, expected.values, strict=True):
        assert _error(value.z, other.z) < 1e-5


@pytest.mark.parametrize(
    "method", ["memit+sphere", "memit-seq", "alphaedit+sphere=solve", "alphaedit+sphere=reproject",
               "prune+sphere", "rome", "ft+sphere"],
)  # fmt: skip
def test_edits_are_solved_where_the_statistics_are(
    site: _Site, device: torch.device, method: str
) -> None:
    found = site.solve(site.far, method, site.statistics.to(device))
    _assert_same_change(found.delta, site.solve(site.near, method, site.statistics).delta)


def test_one_delta_gives_the_same_bits_on_every_device(site: _Site) -> None:
    delta = site.solve(site.far, "memit+sphere", site.statistics).delta
    near, far = (Weights(site.weights(model)) for model in (site.near, site.far))
    edited = far.changed(add=[delta])
    assert weights_digest(edited.materialise()) == weights_digest(
        near.changed(add=[delta]).materialise()
    )
    undone = edited.changed(subtract=[delta])
    assert weights_digest(undone.materialise()) == weights_digest(site.weights(site.near))


def test_statistics_are_collected_where_the_model_is(site: _Site) -> None:
    found = collect(site.far, _LAYERS, _TEXT)
    assert (found.device.type, found.digest) == ("cpu", site.statistics.digest)
    keys = torch.randn(128, 2, generator=torch.Generator().manual_seed(0)).double()
    for layer, moment in site.statistics.layers.items():
        assert _error(found.layers[layer].whiten(keys), moment.whiten(keys)) < 1e-3


def test_a_model_elsewhere_is_calibrated_as_one_on_the_host(
    site: _Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for grid in ("_TRACE_SHARES", "_RIDGES", "_LAMBDAS"):  # one of each is enough here
        monkeypatch.setattr(sweep, grid, getattr(sweep, grid)[-1:])
    records = read_records(bundled_path("probes.jsonl"), "counterfact").first(1)
    found, expected = (
        calibrate(model, site.statistics, site.recipe, [_LAYERS], records, _TEXT[:100])
        for model in (site.far, site.near)
    )
    for space, other in zip(found.spaces, expected.spaces, strict=True):
        assert space.kept_share == pytest.approx(other.kept_share, rel=1e-4)


def test_energies_follow_factors_of_the_host(site: _Site) -> None:
    delta = site.solve(site.far, "memit", site.statistics).delta
    weights = site.weights(site.far)
    edited = Weights(weights).changed(add=[delta]).materialise()
    for layer, part in delta.layers.items():
        assert isinstance(part, Factors)
        gram = RowGram.of(weights[layer]).changed(weights[layer], part.left, part.right)
        assert gram.energy == pytest.approx(RowGram.of(edited[layer]).energy, rel=1e-6)


def test_keys_of_a_delta_meet_remembered_ones(site: _Site) -> None:
    keys = {
        layer: part.keys
        for layer, part in site.solve(site.far, "memit", site.statistics).delta.layers.items()
    }
    found = key_collisions(keys, {layer: torch.ones(4, 128) for layer in keys})
    assert found.keys() == keys.keys()


def test_a_delta_elsewhere_is_refused(device: torch.device) -> None:
    there = torch.ones(1, 2, device=device)
    with pytest.raises(ValueError, match="left of layer 3 is on far:0; a delta is on the host"):
        Delta(("a",), {3: Factors(there, there, there)})


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=f"device '{name}' cannot be used: .* has cpu"):
        load_model("anything", cache_dir=tmp_path, device=name)
