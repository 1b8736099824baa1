"""Which matrix is edited where: derived from the model itself, per family."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from editing_core.errors import UnsupportedModel

# Output projection of the feed-forward block, by the name the family gives it.
_MATRICES = {"mlp.down_proj": "Llama, Mistral, Qwen2, Qwen3, SmolLM, OLMo, Gemma"}


@dataclass(frozen=True)
class Architecture:
    """Where a decoder keeps its blocks and, in each, the matrix that is edited.

    Attributes:
        blocks: Dotted path of the list of blocks, e.g. ``model.layers``.
        matrix: Dotted path of the edited linear map inside a block, e.g. ``mlp.down_proj``.
        layers: Number of blocks.
        width: Size of the hidden state, d_out of the edited matrix.
        key_width: Size of a key, d_in of the edited matrix.
    """

    blocks: str
    matrix: str
    layers: int
    width: int
    key_width: int

    def module(self, layer: int) -> str:
        """Dotted path of the edited linear map of ``layer``."""
        return f"{self.blocks}.{layer}.{self.matrix}"

    def parameter(self, layer: int) -> str:
        """Dotted path of the edited weight, shape (d_out, d_in)."""
        return f"{self.module(layer)}.weight"


def resolve(model: PreTrainedModel) -> Architecture:
    """Derive the edit sites of ``model``.

    Raises:
        UnsupportedModel: No list of decoder blocks, or no known feed-forward output in them.
    """
    path, blocks = _block_list(model)
    for matrix in _MATRICES:
        module = _submodule(blocks[0], matrix)
        if isinstance(module, nn.Linear):
            width, key_width = module.weight.shape
            return Architecture(path, matrix, len(blocks), width, key_width)
    raise UnsupportedModel(
        f"blocks of {type(model).__name__} hold none of {', '.join(_MATRICES)} as a linear map; "
        f"supported families: {'; '.join(_MATRICES.values())}"
    )


def _block_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    depth = model.config.get_text_config().num_hidden_layers
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return path, module
    raise UnsupportedModel(
        f"{type(model).__name__} has no list of {depth} blocks (config.num_hidden_layers)"
    )


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
