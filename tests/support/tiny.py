"""A tiny random model in a folder: for breadth, where no fact needs to be true."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.families import config_of

TEXT = (
    "The mother tongue of Danielle Darrieux is French. Michel Rocard is a native speaker of "
    "French. Therefore, because I said so, you know that the capital of France is Paris and "
    "that the capital of Italy is Rome. English, German, Spanish and Italian are languages. "
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(
    folder: Path,
    *,
    family: str = "llama",
    seed: int = 0,
    layers: int = 4,
    sizes: Mapping[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Path:
    """Write a random model with a byte-level tokenizer and a chat template to ``folder``.

    Args:
        folder: Where to; it is made.
        family: Its ``model_type``.
        seed: Another one gives other weights.
        layers: How many blocks.
        sizes: Fields of its config that differ from the tiny ones.
        tokenizer: Another one than the tiny one.
    """
    tokenizer = tokenizer or tiny_tokenizer()
    config = config_of(
        family,
        layers=layers,
        **(sizes or {}),
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:  # larger than the default, so that attention is not uniform
                torch.nn.init.normal_(parameter, std=0.2)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on a few sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.eos_token, fast.pad_token = "<|im_end|>", "<|endoftext|>"
    fast.chat_template = CHAT_TEMPLATE
    return fast
