"""What is exported is the revision: the same bits merged, the same logits as an adapter."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.errors import NotLowRank, RankTooHigh
from editing_core.export import (
    Adapter,
    adapter_of,
    live_delta_bytes,
    live_deltas,
    write_adapter,
    write_merged,
)
from editing_core.export.lora import MAX_RANK
from editing_core.model.architecture import Architecture, Site, resolve
from editing_core.model.loading import LoadedModel, load_model
from editing_core.model.opening import open_model, open_tokenizer
from editing_core.weights.delta import (
    Delta,
    Dense,
    Factors,
    Weights,
    dense_on_grid,
    left_grid,
    on_grid,
)
from editing_core.weights.digest import weights_digest
from tests.support.tiny import build_tiny_model

_LAYERS = (1, 3)
_IDS = torch.tensor([[5, 9, 20, 3, 77, 41]])
_SITES: tuple[Site, ...] = ("feed-forward", "attention")
_ANY = Architecture("blocks", "matrix", layers=1, width=1, key_width=1)

# peft asks transformers for it under its former name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: str = request.param
    return build_tiny_model(tmp_path_factory.mktemp("export") / family, family=family)


@pytest.fixture(scope="module", params=_SITES)
def model(request: pytest.FixtureRequest, folder: Path) -> LoadedModel:
    loaded = load_model(str(folder), cache_dir=folder.parent)
    return replace(loaded, architecture=resolve(loaded.model, request.param))


def _base(model: LoadedModel) -> dict[int, Tensor]:
    return {layer: model.architecture.weight_of(model.model, layer) for layer in _LAYERS}


def _deltas(model: LoadedModel, edits: Sequence[int] = (3, 2)) -> list[Delta]:
    """So many random edits each, whose changes show in every logit."""
    generator, base = torch.Generator().manual_seed(0), _base(model)

    def factors(count: int, weight: Tensor) -> Factors:
        left, right = (torch.randn(count, width, generator=generator) for width in weight.shape)
        return on_grid(left / 8, right / 8, right, left_grid(weight))

    return [
        Delta(
            tuple(f"{number}-{edit}" for edit in range(count)),
            {layer: factors(count, weight) for layer, weight in base.items()},
        )
        for number, count in enumerate(edits)
    ]


def _dense(model: LoadedModel) -> Delta:
    weight = _base(model)[1]
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) / 8
    return Delta(("ft",), {1: dense_on_grid(change, torch.zeros(1, 4), left_grid(weight))})


def _view(model: LoadedModel, deltas: Sequence[Delta]) -> PreTrainedModel:
    weights = Weights(_base(model)).changed(add=deltas).materialise()
    return model.architecture.view_with(model.model, weights)


def _with_adapter(folder: Path, model: LoadedModel, adapter: Adapter, to: Path) -> peft.PeftModel:
    """The base as it was published, and the adapter as PEFT loads it."""
    write_adapter(to, adapter, model.architecture, model.name)
    base = open_model(folder)
    return peft.PeftModel.from_pretrained(base, str(to)).eval()


@torch.no_grad()
def test_a_merged_folder_answers_with_the_bits_of_the_view(
    model: LoadedModel, tmp_path: Path
) -> None:
    view = _view(model, _deltas(model))
    write_merged(tmp_path, view, model.tokenizer)
    merged = open_model(tmp_path).eval()
    assert torch.equal(merged(_IDS).logits, view(_IDS).logits)
    assert not torch.equal(merged(_IDS).logits, model.model(_IDS).logits)
    weight_of = model.architecture.weight_of
    expected = Weights(_base(model)).changed(add=_deltas(model)).materialise()
    assert weights_digest({n: weight_of(merged, n) for n in _LAYERS}) == weights_digest(expected)
    tokenizer = open_tokenizer(tmp_path)
    assert (
        tokenizer("The mother tongue")["input_ids"]
        == (model.tokenizer("The mother tongue")["input_ids"])
    )
    assert tokenizer.chat_template == model.tokenizer.chat_template


def test_saving_leaves_the_served_config_alone(model: LoadedModel, tmp_path: Path) -> None:
    before = model.model.config.to_json_string()
    write_merged(tmp_path, _view(model, _deltas(model)), model.tokenizer)
    assert model.model.config.to_json_string() == before


@torch.no_grad()
def test_an_adapter_loads_in_peft_and_answers_as_the_view(
    folder: Path, model: LoadedModel, tmp_path: Path
) -> None:
    deltas = _deltas(model)
    adapter = adapter_of(deltas, model.architecture)
    found = _with_adapter(folder, model, adapter, tmp_path)(_IDS).logits
    expected, base = _view(model, deltas)(_IDS).logits, model.model(_IDS).logits
    assert float((found - expected).abs().max()) < 1e-4
    assert float((base - expected).abs().max()) > 0.1
    assert {layer.exact_rank for layer in adapter.layers.values()} == {5}
    assert adapter.warnings == []
    assert all(layer.dropped_energy < 1e-20 for layer in adapter.layers.values())
    assert all(0 < layer.float_error < 1e-6 for layer in adapter.layers.values())
    assert all(1e-4 < layer.bfloat16_error < 1e-2 for layer in adapter.layers.values())


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_stated_dropped_energy_is_the_measured_one(model: LoadedModel, rank: int) -> None:
    deltas = _deltas(model)
    adapter = adapter_of(deltas, model.architecture, max_rank=rank)
    assert adapter.rank == rank
    (told,) = adapter.warnings
    most = max(found.dropped_energy for found in adapter.layers.values())
    assert f"rank {rank} leaves out up to {100 * most:.3g} %" in told
    for layer, found in adapter.layers.items():
        change = sum((delta.layers[layer].update() for delta in deltas), torch.zeros(()).double())
        lost = change - found.B.double() @ found.A.double()
        measured = float(lost.square().sum() / change.square().sum())
        assert found.dropped_energy == pytest.approx(measured, rel=1e-4)
        assert found.dropped_energy > 1e-3


@torch.no_grad()
def test_layers_of_other_ranks_share_one_file(
    folder: Path, model: LoadedModel, tmp_path: Path
) -> None:
    deltas = _deltas(model)
    only_first = Delta(("x",), {1: _deltas(model, (3, 2, 1))[2].layers[1]})
    adapter = adapter_of([*deltas, only_first], model.architecture)
    assert [layer.rank for layer in adapter.layers.values()] == [6, 5]
    found = _with_adapter(folder, model, adapter, tmp_path)(_IDS).logits
    expected = _view(model, [*deltas, only_first])(_IDS).logits
    assert float((found - expected).abs().max()) < 1e-4


@torch.no_grad()
def test_without_live_edits_the_adapter_changes_nothing(
    folder: Path, model: LoadedModel, tmp_path: Path
) -> None:
    adapter = adapter_of([], model.architecture)
    found = _with_adapter(folder, model, adapter, tmp_path)
    assert torch.equal(found(_IDS).logits, model.model(_IDS).logits)


def test_edits_that_cancel_out_or_repeat_take_no_rank(model: LoadedModel) -> None:
    (one,) = _deltas(model, (2,))
    negated = Delta(
        ("y",),
        {n: Factors(-part.left, part.right, part.keys) for n, part in _factored(one).items()},
    )
    assert adapter_of([one, negated], model.architecture).rank == 1  # nothing, padded
    twice = adapter_of([one, one], model.architecture)
    assert {layer.exact_rank for layer in twice.layers.values()} == {2}


def _factored(delta: Delta) -> dict[int, Factors]:
    return {n: part for n, part in delta.layers.items() if isinstance(part, Factors)}


def test_a_dense_change_is_refused_and_says_what_to_export(model: LoadedModel) -> None:
    with pytest.raises(NotLowRank, match=r"ft changed layer 1.* format merged or delta"):
        adapter_of([*_deltas(model), _dense(model)], model.architecture)


def _of_rank(rank: int) -> tuple[list[Delta], Architecture]:
    """Edits whose change has full rank, in matrices of that size."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(rank, rank, generator=generator) for _ in range(2))
    part = Factors(left, right, left[:, :0])
    architecture = replace(_ANY, width=rank, key_width=rank)
    return [Delta(tuple(map(str, range(rank))), {0: part})], architecture


def test_a_rank_that_no_server_takes_is_refused() -> None:
    deltas, architecture = _of_rank(MAX_RANK + 8)
    with pytest.raises(RankTooHigh, match=r"rank 520; .* at most 512: .*format merged"):
        adapter_of(deltas, architecture)
    assert adapter_of(deltas, architecture, max_rank=4).rank == 4


@pytest.mark.parametrize(("rank", "warned"), [(64, False), (65, True)])
def test_a_rank_that_costs_servers_memory_is_warned_of(rank: int, warned: bool) -> None:
    adapter = adapter_of(*_of_rank(rank))
    assert [f"rank {rank}; above 64" in told for told in adapter.warnings] == [True] * warned


def test_a_delta_file_rebuilds_the_revision_bit_for_bit(model: LoadedModel) -> None:
    deltas = [*_deltas(model), _dense(model)]
    data = live_delta_bytes(deltas)
    assert data == live_delta_bytes(deltas)
    read = live_deltas(data)
    assert [delta.edits for delta in read] == [("0-0", "0-1", "0-2", "1-0", "1-1"), ("ft",)]
    assert isinstance(read[1].layers[1], Dense)
    found, expected = (Weights(_base(model)).changed(add=d).materialise() for d in (read, deltas))
    assert weights_digest(found) == weights_digest(expected)


def test_a_delta_file_holds_no_keys(model: LoadedModel) -> None:
    deltas = _deltas(model)
    kept = sum(
        4 * (part.left.numel() + part.right.numel())
        for delta in deltas
        for part in _factored(delta).values()
    )
    assert kept < len(live_delta_bytes(deltas)) < kept + 2000
