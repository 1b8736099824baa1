"""Writing models for others: the one place that has transformers write a model and its tokenizer.

transformers 5 writes only its newest schema. A reader built on transformers 4 does not find all of
its fields there, says nothing, and computes with defaults. So the older fields are written as well.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

_Json = dict[str, Any]

# Families that gave the base and the share of rotary positions names of their own.
_ROPE_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
}
# Phi-3 in transformers 4 takes exactly these; its original length stands at the top level.
_PHI3 = ("short_factor", "long_factor")
# What transformers 5 notes of its own process.
_TRANSIENT = ("backend", "is_local", "local_files_only")

_TIDY_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


def save_model(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **options: Any
) -> None:
    """Write config, weights in safetensors and tokenizer, for readers old and new.

    Args:
        folder: Where to; it exists.
        model: What to write; its config may be changed.
        tokenizer: The model's.
        options: More of what the model's ``save_pretrained`` takes.

    Raises:
        OSError: The disk did not take a file.
        SafetensorError: The disk did not take the weights.
    """
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # older readers know the field alone
    _complete(folder)


def _complete(folder: Path) -> None:
    """Add to a folder that transformers 5 wrote what transformers 4 looks for."""
    config, words = folder / "config.json", folder / "tokenizer.json"
    _replace(config, older_config(_read(config)), sort_keys=True)
    vocabulary = older_vocabulary(_read(words))
    _replace(words, vocabulary, ensure_ascii=False)
    template = folder / "chat_template.jinja"
    talk = template.read_text(encoding="utf-8") if template.exists() else None
    path = folder / "tokenizer_config.json"
    _replace(path, older_tokenizer(_read(path), vocabulary, talk), ensure_ascii=False)


def older_config(config: Mapping[str, Any]) -> _Json:
    """A model's config with the fields of transformers 4 beside its own."""
    added: _Json = {"torch_dtype": config["dtype"]} if config.get("dtype") else {}
    if config["model_type"] == "gemma":  # without it, GELU by tanh whatever `hidden_act` says
        added["hidden_activation"] = config["hidden_act"]
    rope = config.get("rope_parameters")
    if rope and "rope_theta" in rope:  # else one for each kind of layer, which has no older form
        added |= _older_rope(config["model_type"], rope)
    return {**config, **added}


def _older_rope(family: str, rope: Mapping[str, Any]) -> _Json:
    found = dict(rope)
    names = _ROPE_NAMES.get(family, {})
    fields = ("rope_theta", "partial_rotary_factor")
    added = {names.get(field, field): found.pop(field) for field in fields if field in found}
    kind = found.pop("rope_type", "default")
    if kind == "default":
        return {**added, "rope_scaling": None}
    exactly = ("factor",) if kind in ("linear", "dynamic") else _PHI3 if family == "phi3" else None
    if exactly is not None:
        return {**added, "rope_scaling": {"type": kind, **{name: found[name] for name in exactly}}}
    if kind != "llama3":  # younger than the name `type`
        found["type"] = kind
    return {**added, "rope_scaling": {**found, "rope_type": kind}}


def reading_limits(config: Mapping[str, Any]) -> list[str]:
    """What older readers compute otherwise for this config, and no file can mend."""
    rope, told = config.get("rope_parameters") or {}, []
    length = config.get("max_position_embeddings")
    if rope and "rope_theta" not in rope:
        told.append(
            "transformers 4 finds no rotary base it knows: this model has one for each kind of "
            "layer; load the folder with transformers 5"
        )
    if rope.get("rope_type") == "yarn" and rope["original_max_position_embeddings"] != length:
        told.append(
            "transformers 4.44 takes max_position_embeddings for YaRN's original length; load the "
            "folder with a later one"
        )
    if config.get("use_sliding_window"):
        told.append(
            "transformers 4.44 leaves out the sliding window of this model; load the folder with a "
            "later one"
        )
    if config.get("scale_attn_by_inverse_layer_idx"):
        told.append(
            "transformers 4 leaves out scale_attn_by_inverse_layer_idx unless the folder is loaded "
            'with attn_implementation="eager"'
        )
    return told


def older_vocabulary(vocabulary: Mapping[str, Any]) -> _Json:
    """A ``tokenizer.json`` whose merges tokenizers before 0.20 can read: "a b" for ["a", "b"]."""
    model = vocabulary["model"]
    pairs = [merge for merge in model.get("merges") or () if isinstance(merge, list)]
    if not pairs or any(" " in part for pair in pairs for part in pair):
        return dict(vocabulary)  # what holds a space itself has the new form alone
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    return {**vocabulary, "model": {**model, "merges": merges}}


def older_tokenizer(
    config: Mapping[str, Any], vocabulary: Mapping[str, Any], chat_template: str | None
) -> _Json:
    """A tokenizer's config that has every reader take ``tokenizer.json`` as it is.

    Said are, too, the defaults that differ between versions.
    """
    found = {name: value for name, value in config.items() if name not in _TRANSIENT}
    found["tokenizer_class"] = "PreTrainedTokenizerFast"
    if not found.get(_TIDY_BPE) and vocabulary["model"]["type"] == "BPE":
        found["clean_up_tokenization_spaces"] = (
            False  # transformers 5 does not, whatever stands here
        )
    found.setdefault("clean_up_tokenization_spaces", False)
    found.setdefault("model_input_names", ["input_ids", "attention_mask"])
    splitter = vocabulary.get("pre_tokenizer") or {}
    if "add_prefix_space" in splitter:  # transformers 4 sets it to what stands here
        found["add_prefix_space"] = splitter["add_prefix_space"]
    if isinstance(found.get("extra_special_tokens"), list):  # there a mapping was meant by it
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    if chat_template is not None:
        found["chat_template"] = chat_template
    return found


def _read(path: Path) -> _Json:
    found: _Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def _replace(path: Path, found: _Json, **options: Any) -> None:
    path.write_text(json.dumps(found, indent=2, **options) + "\n", encoding="utf-8")
