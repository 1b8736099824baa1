"""Models of published shapes with random weights, made on the device: nothing is downloaded."""

from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from editing_core.model.architecture import resolve
from editing_core.model.loading import LoadedModel
from editing_core.recipe import Recipe
from editing_core.settings import ValueSettings
from editing_core.statistics import SecondMoment, Statistics
from tests.support.tiny import tiny_tokenizer

_CONTEXTS = (
    ("{}",),
    tuple(
        f"{opening} said that it was known to all of them. {{}}"
        for opening in ("The man", "Therefore he", "Because I", "I have", "You who")
    ),
    ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",),
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, as its config has them, and how it is tried.

    Attributes:
        batches: How many edits are solved together, in turn.
    """

    name: str
    family: str
    layers: int
    width: int
    inner: int
    heads: int
    key_value_heads: int
    vocabulary: int
    batches: tuple[int, ...] = (1, 16, 100)

    @property
    def edited(self) -> tuple[int, ...]:
        """The layers that a recipe edits by default."""
        return tuple(range(self.layers * 4 // 30, self.layers * 8 // 30 + 1))

    @property
    def statistics_bytes(self) -> int:
        """What the second moments of the edited layers take in float64."""
        return len(self.edited) * self.inner**2 * 8


PUBLISHED = ("Llama-3-8B", "Qwen2.5-7B")
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("Llama-3-8B", "llama", 32, 4096, 14336, 32, 8, 128256),
        Shape("Qwen2.5-7B", "qwen2", 28, 3584, 18944, 28, 4, 152064),
        Shape("tiny", "llama", 4, 64, 128, 4, 2, 512, batches=(1, 2)),
    )
}


def model_of(shape: Shape, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A random model of a shape, with a small tokenizer."""
    tokenizer = tiny_tokenizer()
    config = AutoConfig.for_model(
        shape.family,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = model.to(device).eval().requires_grad_(False)
    return LoadedModel(shape.name, model, tokenizer, resolve(model), digest="random")


def recipe_of(shape: Shape) -> Recipe:
    """A recipe with contexts as the demo model's, whose values take every step."""
    every_step = ValueSettings(stop_loss=0.0)
    return Recipe("random", "random", shape.edited, _CONTEXTS, every_step)


def statistics_of(shape: Shape, device: torch.device) -> Statistics:
    """Second moments that cost what collected ones do; all layers share one, to save memory."""
    values = torch.linspace(0.1, 1.0, shape.inner, dtype=torch.float64, device=device)
    vectors = torch.eye(shape.inner, dtype=torch.float64, device=device)
    moment = SecondMoment(values, vectors)
    return Statistics(dict.fromkeys(shape.edited, moment), tokens=0, digest="random")
