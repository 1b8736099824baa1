"""Configs of tiny models, one a family: those that can be edited, and those that are refused."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

_WIDTH, _INNER, _HEADS, _POSITIONS = 64, 128, 4, 512
_LLAMA: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "intermediate_size": _INNER,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": _POSITIONS,
}
_QWEN3 = {**_LLAMA, "head_dim": 24}  # heads wider together than the hidden state
_GPT = {"n_embd": _WIDTH, "n_inner": _INNER, "n_head": _HEADS, "n_positions": _POSITIONS}

EDITABLE: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 16},
    "qwen2": _LLAMA,
    "qwen3": _QWEN3,
    "gemma": {**_LLAMA, "head_dim": 16},
    "olmo": {**_LLAMA, "clip_qkv": 2.0},
    "gpt2": {**_GPT, "scale_attn_by_inverse_layer_idx": True},
    "gptj": {**_GPT, "rotary_dim": 8},
    "gpt_neox": {**_LLAMA, "use_parallel_residual": True},
    "phi": {**_LLAMA, "qk_layernorm": True},
}
# Attention and feed-forward read the same hidden state.
PARALLEL = ("gptj", "gpt_neox", "phi")
REFUSED: dict[str, dict[str, Any]] = {
    "gemma2": {**_LLAMA, "head_dim": 16},
    "gemma3_text": {**_LLAMA, "head_dim": 16},
    "olmo2": _LLAMA,
    "granite": {**_LLAMA, "residual_multiplier": 0.5},
    "mixtral": {**_LLAMA, "num_local_experts": 2},
    "bloom": {"hidden_size": _WIDTH, "n_head": _HEADS},
    "gpt_neo": {
        "hidden_size": _WIDTH,
        "num_heads": _HEADS,
        "attention_types": [[["global", "local"], 2]],
    },
    "opt": {
        "hidden_size": _WIDTH,
        "word_embed_proj_dim": _WIDTH,
        "ffn_dim": _INNER,
        "num_attention_heads": _HEADS,
    },
}


def config_of(family: str, *, layers: int, **common: Any) -> PreTrainedConfig:
    """Config of a tiny model of ``family`` (a ``model_type``) with so many blocks."""
    settings = {**EDITABLE, **REFUSED}[family] | common
    # `num_hidden_layers` is what every family calls it, if only by an alias.
    config: PreTrainedConfig = AutoConfig.for_model(family, **settings, num_hidden_layers=layers)
    return config
