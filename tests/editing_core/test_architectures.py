"""Every family: the edited matrix is the right one, in the right orientation, and editing works."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from editing_core.edit import Edit, tokenise
from editing_core.editor import Editor
from editing_core.errors import UnsupportedModel
from editing_core.measures.probe import score
from editing_core.model.architecture import Site, resolve
from editing_core.model.loading import LoadedModel, load_model
from editing_core.model.packed import PackedModel, hidden_of
from editing_core.model.view import private_copy
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, ValueSettings
from editing_core.solution import Solution
from editing_core.statistics import collect
from editing_core.values import optimise
from editing_core.weights.delta import Delta, Weights, left_grid, on_grid
from tests.support.families import PARALLEL
from tests.support.slow_values import optimise_slowly, same
from tests.support.tiny import build_tiny_model

_SITES: tuple[Site, ...] = ("feed-forward", "attention")
_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100
_LAYER, _IDS = 1, torch.tensor([[5, 9, 20, 3]])
_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "They say that {} is the capital of", "Spain"),
]


def _at(model: LoadedModel, site: Site) -> LoadedModel:
    return replace(model, architecture=resolve(model.model, site))


def _weights(model: LoadedModel, layers: tuple[int, ...]) -> Weights:
    return Weights({layer: model.architecture.weight_of(model.model, layer) for layer in layers})


def _delta(model: LoadedModel) -> Delta:
    """A large random change of one matrix."""
    architecture, generator = model.architecture, torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(1, width, generator=generator) * 0.5
        for width in (architecture.width, architecture.key_width)
    )
    grid = left_grid(architecture.weight_of(model.model, _LAYER))
    return Delta(("a",), {_LAYER: on_grid(left, right, right, grid)})


def _passing(model: PreTrainedModel, path: str, ids: Tensor = _IDS) -> tuple[Tensor, Tensor]:
    """Input and output of the module at ``path`` (N, width) in the model's own forward."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        seen.append((args[0][0], hidden_of(out)[0]))

    handle = model.get_submodule(path).register_forward_hook(keep)
    model(ids)
    handle.remove()
    return seen[0]


def test_weights_are_seen_as_outputs_by_inputs(family_model: LoadedModel) -> None:
    for model in (_at(family_model, site) for site in _SITES):
        architecture = model.architecture
        weight = architecture.weight_of(model.model, _LAYER)
        assert weight.shape == (architecture.width, architecture.key_width)
        assert (
            weight.data_ptr()
            == model.model.get_parameter(architecture.parameter(_LAYER)).data_ptr()
        )
        key, out = _passing(model.model, architecture.module(_LAYER))
        bias = getattr(model.model.get_submodule(architecture.module(_LAYER)), "bias", None)
        assert torch.allclose(key @ weight.T + (0 if bias is None else bias), out, atol=1e-5)


@pytest.mark.parametrize("site", _SITES)
def test_an_update_moves_the_matrixs_output_by_its_product_with_the_key(
    family_model: LoadedModel, site: Site
) -> None:
    model = _at(family_model, site)
    architecture, delta = model.architecture, _delta(model)
    changed = _weights(model, (_LAYER,)).changed(add=[delta]).materialise()
    view = architecture.view_with(model.model, changed)
    before, after = (_passing(m, architecture.module(_LAYER)) for m in (model.model, view))
    moved = before[0] @ delta.layers[_LAYER].update().float().T  # (N, d_out)
    assert torch.allclose(after[0], before[0])
    assert torch.allclose(after[1] - before[1], moved, rtol=1e-4, atol=1e-4)
    if site == "feed-forward":
        block = f"{architecture.blocks}.{_LAYER}"
        stream = _passing(view, block)[1] - _passing(model.model, block)[1]
        assert torch.allclose(stream, moved, rtol=1e-4, atol=1e-4)


def test_a_view_with_the_weights_it_has_is_the_model(family_model: LoadedModel) -> None:
    weights = _weights(family_model, (0, _LAYER)).materialise()
    view = family_model.architecture.view_with(family_model.model, weights)
    assert torch.equal(view(_IDS).logits, family_model.model(_IDS).logits)


def test_values_equal_those_of_one_edit_at_a_time_through_the_whole_model(
    family_model: LoadedModel,
) -> None:
    recipe = Recipe(
        model_digest="",
        statistics_digest="",
        layers=(0, _LAYER),
        contexts=(("{}",), ("Because I said so. {}",)),
        value=ValueSettings(steps=8, learning_rate=0.3, stop_loss=0.0),
    )
    packed = PackedModel(family_model.model, family_model.architecture)
    found = optimise(packed, family_model.tokenizer, _EDITS, recipe)
    expected = [optimise_slowly(family_model, edit, recipe) for edit in _EDITS]
    assert all(map(same, found, expected))


def _edited(model: LoadedModel) -> tuple[Solution, PreTrainedModel]:
    """A batch solved on one layer, and the model that says it."""
    layers = (_LAYER,)
    statistics = collect(model, layers, _TEXT)
    recipe = Recipe(
        model_digest=model.digest,
        statistics_digest=statistics.digest,
        layers=layers,
        contexts=(("{}",),),
        # P = I: keys of random weights have no null space.
        alphaedit=AlphaEditSettings(tau=float("inf"), l2=1e-5),
    )
    solution = Editor(model, recipe, statistics).solve(model.model, _EDITS, method="alphaedit")
    weights = _weights(model, layers).changed(add=[solution.delta]).materialise()
    return solution, model.architecture.view_with(model.model, weights)


def _writes_its_values(model: LoadedModel, solution: Solution, view: PreTrainedModel) -> bool:
    """Whether the block's output at each subject's last token is what was optimised."""
    errors = []
    for edit, value in zip(_EDITS, solution.values, strict=True):
        prompt = tokenise(model.tokenizer, edit, "{}")
        _, out = _passing(view, f"{model.architecture.blocks}.{_LAYER}", torch.tensor([prompt.ids]))
        errors.append(float((out[prompt.subject_last] - value.z).norm() / value.z.norm()))
    return max(errors) < 1e-3


def test_an_edit_writes_its_value_and_raises_the_probability_of_its_target(
    family_model: LoadedModel,
) -> None:
    solution, view = _edited(family_model)
    assert _writes_its_values(family_model, solution, view)
    items = [(edit.filled, edit.target) for edit in _EDITS]
    before, after = (
        score(model, family_model.tokenizer, items) for model in (family_model.model, view)
    )
    for old, new in zip(before, after, strict=True):
        assert new.logprob > old.logprob + 0.3


def test_attention_may_be_edited_too(family_model: LoadedModel) -> None:
    model = _at(family_model, "attention")
    solution, view = _edited(model)
    for report in solution.reports:
        assert report.layers[0].achieved_fraction == pytest.approx(1, abs=1e-3)
    # Elsewhere, the feed-forward half of the block reads what attention wrote and adds to it.
    assert _writes_its_values(model, solution, view) == (model.name in PARALLEL)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_precise_enough_to_be_accepted(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = build_tiny_model(tmp_path / "gptj", family="gptj")
    for site in _SITES:
        load_model(str(folder), cache_dir=tmp_path, dtype=dtype, site=site)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gemma2", r"Gemma2DecoderLayer.* norms are .*post_feedforward_layernorm"),
        ("gemma3_text", r"norm or a scale after the matrix"),
        ("olmo2", r"norm or a scale after the matrix"),
        ("granite", r"relative difference 0\.5"),
        ("mixtral", r"hold none of mlp\.down_proj.* they hold .*mlp\.gate"),
        ("opt", r"they hold .*fc2; supported families: Llama"),
        ("bloom", r"attention of BloomForCausalLM"),
        ("gpt_neo", r"attention of GPTNeoForCausalLM"),
    ],
)
def test_a_model_that_cannot_be_edited_exactly_is_refused_with_the_reason(
    family: str, reason: str, tmp_path: Path
) -> None:
    folder = build_tiny_model(tmp_path / family, family=family)
    with pytest.raises(UnsupportedModel, match=reason):
        load_model(str(folder), cache_dir=tmp_path)


def test_a_block_unlike_the_others_is_refused(tiny_model: LoadedModel) -> None:
    model = private_copy(tiny_model.model)
    mlp = model.get_submodule(f"{tiny_model.architecture.blocks}.2.mlp")
    mlp.down_proj = nn.Linear(32, 64)
    with pytest.raises(UnsupportedModel, match=r"\(64, 32\), \(64, 128\)"):
        resolve(model)
    mlp.down_proj = nn.Identity()
    with pytest.raises(UnsupportedModel, match=r"layers\.2\.mlp\.down_proj is a Identity"):
        resolve(model)
