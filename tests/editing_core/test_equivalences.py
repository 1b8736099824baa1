"""What must not make a difference: how weights are stored or shared, and how text is padded."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import nn

from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.measures.probe import score
from editing_core.model.architecture import resolve
from editing_core.model.loading import LoadedModel, load_model
from editing_core.model.view import private_copy
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, ValueSettings
from editing_core.solution import Solution
from editing_core.statistics import collect
from tests.support.tiny import build_tiny_model

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 60
_LAYERS, _START = (0, 1), "<|im_start|>"
_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "They say that {} is the capital of", "Spain"),
]


def _solve(model: LoadedModel, context: str = "{}") -> Solution:
    recipe = Recipe(
        model_digest=model.digest,
        statistics_digest="",
        layers=_LAYERS,
        contexts=((context,),),
        value=ValueSettings(steps=8, kl=0.0),  # the divergence is read without a context
        alphaedit=AlphaEditSettings(tau=float("inf")),
    )
    editor = Editor(model, recipe, collect(model, _LAYERS, _TEXT))
    return editor.solve(model.model, _EDITS, method="alphaedit+sphere")


def _error(found: Solution, expected: Solution) -> float:
    """Largest relative difference of the updates of a layer."""
    errors = []
    for layer in _LAYERS:
        one, other = (solution.delta.layers[layer].update() for solution in (found, expected))
        errors.append(float((one - other).norm() / other.norm()))
    return max(errors)


def test_a_conv1d_is_edited_as_the_linear_map_it_is(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "gpt2", family="gpt2")
    conv = load_model(str(folder), cache_dir=tmp_path)
    twin = private_copy(conv.model)
    for layer in range(conv.architecture.layers):
        linear = nn.Linear(conv.architecture.key_width, conv.architecture.width)
        stored = twin.get_submodule(conv.architecture.module(layer))
        linear.weight = nn.Parameter(conv.architecture.weight_of(twin, layer).contiguous(), False)
        linear.bias = stored.get_parameter("bias")
        twin.get_submodule(f"{conv.architecture.blocks}.{layer}.mlp").c_proj = linear
    plain = replace(conv, model=twin, architecture=resolve(twin))
    assert (conv.architecture.transposed, plain.architecture.transposed) == (True, False)
    assert _error(_solve(conv), _solve(plain)) < 1e-3


def test_a_tied_head_is_edited_as_one_of_its_own(tiny_model: LoadedModel) -> None:
    tied, untied = private_copy(tiny_model.model), private_copy(tiny_model.model)
    embedding = tiny_model.model.get_input_embeddings().get_parameter("weight")
    tied.get_output_embeddings().weight = embedding
    untied.get_output_embeddings().weight = nn.Parameter(embedding.clone(), False)
    one, other = (_solve(replace(tiny_model, model=model)) for model in (tied, untied))
    assert one.delta.to_bytes() == other.delta.to_bytes()


def test_the_side_a_tokenizer_pads_on_does_not_matter(tiny_model: LoadedModel) -> None:
    found = []
    for side in ("left", "right"):
        tokenizer = deepcopy(tiny_model.tokenizer)
        tokenizer.padding_side = side
        model = replace(tiny_model, tokenizer=tokenizer)
        scores = score(model.model, tokenizer, [(edit.filled, edit.target) for edit in _EDITS])
        found.append((_solve(model).delta.to_bytes(), scores))
    assert found[0] == found[1]


def test_a_start_token_counts_whether_the_tokenizer_or_the_text_adds_it(
    tiny_model: LoadedModel,
) -> None:
    tokenizer: Any = deepcopy(tiny_model.tokenizer)
    start = tokenizer.convert_tokens_to_ids(_START)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, start)]
    )
    assert tokenizer("Rome")["input_ids"][0] == start
    added = _solve(replace(tiny_model, tokenizer=tokenizer))
    written = _solve(tiny_model, _START + "{}")
    assert added.delta.to_bytes() == written.delta.to_bytes()
    scores = [
        score(model.model, model.tokenizer, [(start + edit.filled, edit.target) for edit in _EDITS])
        for model, start in ((replace(tiny_model, tokenizer=tokenizer), ""), (tiny_model, _START))
    ]
    assert [s.logprob for s in scores[0]] == pytest.approx([s.logprob for s in scores[1]])
    assert torch.equal(*(torch.stack([v.z for v in s.values]) for s in (added, written)))
