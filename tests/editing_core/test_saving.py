"""What is written for others says in the older schema, too, what the older schema had said."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from editing_core.export import write_merged
from editing_core.model.loading import load_model
from editing_core.model.opening import open_model, open_tokenizer
from editing_core.model.saving import save_model
from tests.support.tiny import build_tiny_model, tiny_tokenizer

_SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "vocab_size": 384,
    "max_position_embeddings": 512,
}
_LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
    "rope_type": "llama3",
}
_LONG = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
# As `config.json` of published models had it before transformers 5.
_PUBLISHED: list[dict[str, Any]] = [
    {"model_type": "llama", "rope_theta": 100000.0, "rope_scaling": None},
    {"model_type": "llama", "rope_theta": 500000.0, "rope_scaling": _LLAMA3},
    {"model_type": "llama", "rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}},
    {"model_type": "qwen2", "rope_theta": 1000000.0, "use_sliding_window": False},
    {"model_type": "qwen2", "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    {"model_type": "qwen3", "rope_theta": 1000000.0, "head_dim": 24},
    {"model_type": "mistral", "rope_theta": 1e6, "sliding_window": 16, "torch_dtype": "bfloat16"},
    {"model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 16},
    {"model_type": "gpt_neox", "rotary_emb_base": 25000, "rotary_pct": 0.5},
    {
        "model_type": "gpt_neox",
        "rotary_pct": 0.25,
        "rope_scaling": {"type": "linear", "factor": 2.0},
    },
    {"model_type": "phi", "partial_rotary_factor": 0.4, "rope_theta": 20000.0},
    {"model_type": "phi3", "rope_scaling": _LONG, "original_max_position_embeddings": 128},
]


def _saved(folder: Path, config: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Path:
    """A random model of this config, opened and saved as an export is."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**deepcopy(config)))
    saved = folder / "saved"
    saved.mkdir()
    save_model(saved, model, tokenizer)
    return saved


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("published", _PUBLISHED, ids=lambda fields: ",".join(map(str, fields)))
def test_a_config_says_again_what_it_said_in_the_older_schema(
    published: dict[str, Any], tmp_path: Path
) -> None:
    published = {"torch_dtype": "float32"} | published
    saved = _saved(tmp_path, {**_SIZES, "pad_token_id": 0, **published}, tiny_tokenizer())
    found = _read(saved / "config.json")
    assert {name: found.get(name) for name in published} == published
    assert found["dtype"] == published["torch_dtype"]


@pytest.mark.parametrize("published", _PUBLISHED, ids=lambda fields: ",".join(map(str, fields)))
def test_the_newest_reader_computes_as_before(published: dict[str, Any], tmp_path: Path) -> None:
    config = {**_SIZES, "pad_token_id": 0, **published}
    saved = _saved(tmp_path, config, tiny_tokenizer())
    before = AutoConfig.for_model(**deepcopy(config)).to_dict()
    after = open_model(saved).config.to_dict()
    for config in (before, after):
        (config.get("rope_parameters") or {}).pop("type", None)  # the former name of `rope_type`
    told = {"_name_or_path", "transformers_version", "architectures", "dtype"}
    assert {k: v for k, v in before.items() if k not in told} == {
        k: v for k, v in after.items() if k in before and k not in told
    }


def test_a_tokenizer_is_read_from_its_own_file_by_every_reader(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|tool|>"]})
    saved = _saved(tmp_path, {**_SIZES, "model_type": "qwen2"}, tokenizer)
    found = _read(saved / "tokenizer_config.json")
    assert found["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"backend", "is_local", "local_files_only", "extra_special_tokens"} & set(found)
    assert found["additional_special_tokens"] == ["<|im_start|>", "<|tool|>"]
    assert found["chat_template"] == tokenizer.chat_template
    assert found["clean_up_tokenization_spaces"] is False
    assert found["model_input_names"] == ["input_ids", "attention_mask"]
    merges = _read(saved / "tokenizer.json")["model"]["merges"]
    assert all(isinstance(merge, str) for merge in merges)
    assert len(merges) > 100
    text = "The capital of France <|tool|> is Paris .<|im_end|>"
    assert open_tokenizer(saved)(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert open_tokenizer(saved).all_special_tokens == tokenizer.all_special_tokens


def test_merges_of_what_holds_a_space_stay_pairs(tmp_path: Path) -> None:
    vocabulary = {"a": 0, " ": 1, "a ": 2}
    backend = Tokenizer(models.BPE(vocabulary, [("a", " ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, add_prefix_space=True)
    saved = _saved(tmp_path, {**_SIZES, "model_type": "llama"}, tokenizer)
    assert _read(saved / "tokenizer.json")["model"]["merges"] == [["a", " "]]
    assert _read(saved / "tokenizer_config.json")["add_prefix_space"] is True


def test_several_chat_templates_are_one_field(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    saved = _saved(tmp_path, {**_SIZES, "model_type": "llama"}, tokenizer)
    assert all(path.is_file() for path in saved.iterdir())  # what an archive is made of
    assert open_tokenizer(saved).chat_template == tokenizer.chat_template


@pytest.mark.parametrize(
    ("family", "sizes", "told"),
    [
        ("llama", {}, None),
        ("gpt2", {}, "scale_attn_by_inverse_layer_idx"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}, "sliding window"),
        ("llama", {"rope": 128}, "YaRN"),
        ("llama", {"rope": 512}, None),
    ],
)
def test_what_no_file_can_mend_is_told(
    family: str, sizes: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    if length := sizes.get("rope"):
        scaling = {"factor": 4.0, "original_max_position_embeddings": length, "rope_theta": 1e4}
        sizes = {"rope_parameters": {"rope_type": "yarn", **scaling}}
    source = build_tiny_model(tmp_path / "source", family=family, sizes=sizes)
    model = load_model(str(source), cache_dir=tmp_path)
    (tmp_path / "merged").mkdir()
    warnings = write_merged(tmp_path / "merged", model.model, model.tokenizer)
    assert [told in warning for warning in warnings if told] == ([True] if told else [])
