"""Exports of edited models for other software to read, and what this one answers with them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from editing_core.export import adapter_of, write_adapter, write_merged
from editing_core.model.loading import LoadedModel, load_model
from editing_core.weights.delta import Delta, Weights, left_grid, on_grid
from tests.support import tiny

TEXT = "The mother tongue of Danielle Darrieux is French . Is n't it?<|im_end|> The capital of"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
QUESTIONS = {
    "text": TEXT,
    "messages": MESSAGES,
    # transformers 4 forgets a scale of GPT-2's unless it is asked so; the export warns of it
    "options": {"gpt2": {"attn_implementation": "eager"}, "bfloat16": {"torch_dtype": "auto"}},
}
_NEW_TOKENS = 4
_UNKNOWN = "<unk>"
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_THETA = {"rope_type": "default", "rope_theta": 100000.0}

# Name → family and fields; of what was moved in transformers 5, none has the default.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"rope_parameters": _THETA}),
    "llama3": ("llama", {"rope_parameters": _LLAMA3}),
    "linear": ("llama", {"rope_parameters": {**_THETA, "rope_type": "linear", "factor": 4.0}}),
    "bfloat16": ("llama", {"rope_parameters": _THETA}),
    "sentencepiece": ("llama", {"rope_parameters": _THETA}),
    "mistral": ("mistral", {"rope_parameters": _THETA}),
    "qwen2": ("qwen2", {"rope_parameters": _THETA, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"rope_parameters": _THETA}),
    "gemma": ("gemma", {"rope_parameters": _THETA, "hidden_act": "gelu"}),
    "olmo": ("olmo", {"rope_parameters": _THETA}),
    "gpt2": ("gpt2", {}),
    "gptj": ("gptj", {}),
    "gpt_neox": ("gpt_neox", {"rope_parameters": {**_THETA, "partial_rotary_factor": 0.5}}),
    "phi": (
        "phi",
        {"rope_parameters": {**_THETA, "partial_rotary_factor": 0.25}, "qk_layernorm": False},
    ),
}
DEMO = "smollm2-135m"


@dataclass(frozen=True)
class Answers:
    """What a reader is to say of one case.

    Attributes:
        logits: Of the edited model after the text, (vocabulary,).
    """

    ids: list[int]
    decoded: str
    chat: str
    special: list[str]
    written: str
    dtype: str
    logits: Tensor


def write_case(folder: Path, name: str) -> Answers:
    """Export an edited tiny model as ``merged``, ``lora`` and ``base``."""
    family, sizes = CASES[name]
    source = tiny.build_tiny_model(folder.parent / "sources" / name, family=family, sizes=sizes)
    if name == "sentencepiece":
        sentencepiece_tokenizer().save_pretrained(source)
    dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
    model = load_model(str(source), cache_dir=folder, dtype=dtype)
    base = folder / name / "base"
    base.mkdir(parents=True)
    write_merged(base, model.model, model.tokenizer)
    return _export(folder / name, model)


def write_demo(folder: Path, model: LoadedModel, converted: Path) -> Answers:
    """Export the edited demo model; its base is the folder that its GGUF file was converted to."""
    (folder / DEMO).mkdir()
    (folder / DEMO / "base").symlink_to(converted)
    return _export(folder / DEMO, model)


def write_questions(folder: Path) -> None:
    """Let a reader know what it is asked."""
    (folder / "questions.json").write_text(json.dumps(QUESTIONS), encoding="utf-8")


@torch.no_grad()
def _export(folder: Path, model: LoadedModel) -> Answers:
    weight_of, layers = model.architecture.weight_of, (1, 2)
    weights = {layer: weight_of(model.model, layer) for layer in layers}
    delta = _random_edits(weights)
    edited = Weights(weights).changed(add=[delta]).materialise()
    view = model.architecture.view_with(model.model, edited)
    for kind in ("merged", "lora"):
        (folder / kind).mkdir()
    write_merged(folder / "merged", view, model.tokenizer)
    adapter = adapter_of([delta], model.architecture)
    write_adapter(folder / "lora", adapter, model.architecture, model.name)
    return _answers(view, model.tokenizer)


def _random_edits(weights: Mapping[int, Tensor]) -> Delta:
    """Two of them, whose changes show in every logit."""
    generator, layers = torch.Generator().manual_seed(0), {}
    for layer, weight in weights.items():
        left, right = (torch.randn(2, width, generator=generator) / 8 for width in weight.shape)
        layers[layer] = on_grid(left, right, right, left_grid(weight))
    return Delta(("a", "b"), layers)


def _answers(view: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Answers:
    ids = tokenizer(TEXT)["input_ids"]
    asked = torch.tensor([ids])
    generator: Any = view  # its `generate` is typed by a mixin
    written = generator.generate(asked, max_new_tokens=_NEW_TOKENS, do_sample=False)
    return Answers(
        ids=ids,
        decoded=str(tokenizer.decode(ids)),
        chat=str(tokenizer.apply_chat_template(MESSAGES, tokenize=False)),
        special=sorted(tokenizer.all_special_tokens),
        written=str(tokenizer.decode(written[0, len(ids) :])),
        dtype=str(view.dtype),
        logits=view(asked).logits[0, -1].float(),
    )


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """Built as Llama 2's: spaces as marks, bytes for what is unknown, a token before the text."""
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[_UNKNOWN, "<s>", "<|im_end|>", *bytes_],
        show_progress=False,
    )
    tokenizer.train_from_iterator([tiny.TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.unk_token, fast.bos_token, fast.eos_token = _UNKNOWN, "<s>", "<|im_end|>"
    fast.chat_template = tiny.CHAT_TEMPLATE
    return fast
