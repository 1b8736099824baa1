"""Which matrix is edited where: derived from the model itself, by the names its family uses.

The core sees every edited matrix as (d_out, d_in). How a family stores it is known here only:
``weight_of`` reads and ``view_with`` writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from editing_core.errors import UnsupportedModel
from editing_core.model.view import view_of

Site = Literal["feed-forward", "attention"]
"""Which output projection of a block is edited. A change of the attention's also changes what the
feed-forward half of the same block reads, unless the two run in parallel."""

_LLAMA = "Llama, Mistral, Qwen2, Qwen3, SmolLM, Gemma, OLMo"
_NEOX = "GPT-NeoX, Pythia"
_MATRICES: dict[Site, dict[str, str]] = {
    "feed-forward": {
        "mlp.down_proj": _LLAMA,
        "mlp.c_proj": "GPT-2",
        "mlp.fc_out": "GPT-J",
        "mlp.dense_4h_to_h": _NEOX,
        "mlp.fc2": "Phi",
    },
    "attention": {
        "self_attn.o_proj": _LLAMA,
        "attn.c_proj": "GPT-2",
        "attn.out_proj": "GPT-J",
        "attention.dense": _NEOX,
        "self_attn.dense": "Phi",
    },
}

SUPPORTED = "; ".join(_MATRICES["feed-forward"].values())


@dataclass(frozen=True)
class Architecture:
    """Where a decoder keeps its blocks and, in each, the matrix that is edited.

    Attributes:
        blocks: Dotted path of the list of blocks, e.g. ``model.layers``.
        matrix: Dotted path of the edited linear map inside a block, e.g. ``mlp.down_proj``.
        layers: Number of blocks.
        width: Size of the hidden state, d_out of the edited matrix.
        key_width: Size of a key, d_in of the edited matrix.
        site: Which of a block's output projections ``matrix`` is.
        transposed: Whether the weight is stored as (d_in, d_out), as ``Conv1D`` does.
    """

    blocks: str
    matrix: str
    layers: int
    width: int
    key_width: int
    site: Site = "feed-forward"
    transposed: bool = False

    def module(self, layer: int) -> str:
        """Dotted path of the edited linear map of ``layer``."""
        return f"{self.blocks}.{layer}.{self.matrix}"

    def parameter(self, layer: int) -> str:
        """Dotted path of the edited weight; its shape is the family's, see ``weight_of``."""
        return f"{self.module(layer)}.weight"

    def weight_of(self, model: PreTrainedModel, layer: int) -> Tensor:
        """The edited weight (d_out, d_in) of ``layer``: the parameter's own memory, no copy."""
        stored = model.get_parameter(self.parameter(layer)).data
        return stored.T if self.transposed else stored

    def view_with(self, model: PreTrainedModel, weights: Mapping[int, Tensor]) -> PreTrainedModel:
        """A view of ``model`` with these edited weights, layer → (d_out, d_in).

        Raises:
            ValueError: A weight differs from the one it replaces in shape, dtype or device.
        """
        stored = {
            self.parameter(layer): weight.T.contiguous() if self.transposed else weight
            for layer, weight in weights.items()
        }
        return view_of(model, stored)


def resolve(model: PreTrainedModel, site: Site = "feed-forward") -> Architecture:
    """Derive the edit sites of ``model`` from its config and its modules.

    Raises:
        UnsupportedModel: No list of decoder blocks, or not in each of them an output projection
            by a known name, as a plain linear map; the message says what was found instead.
    """
    path, blocks = _block_list(model)
    for matrix in _MATRICES[site]:
        if _submodule(blocks[0], matrix) is not None:
            break
    else:
        raise UnsupportedModel(
            f"blocks of {type(model).__name__} hold none of {', '.join(_MATRICES[site])} to edit; "
            f"they hold {_linear_maps(blocks[0])}; supported families: {SUPPORTED}"
        )
    shapes = {_shape(block, matrix, f"{path}.{n}") for n, block in enumerate(blocks)}
    if len(shapes) > 1:
        raise UnsupportedModel(
            f"{matrix} of {type(model).__name__} has other shapes in other blocks: "
            f"{', '.join(map(str, sorted(shapes)))}; blocks of one kind are supported only"
        )
    (width, key_width), transposed = shapes.pop(), _is_conv1d(blocks[0].get_submodule(matrix))
    return Architecture(path, matrix, len(blocks), width, key_width, site, transposed)


def _block_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = {
        path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }
    for path, module in lists.items():
        if len(module) == depth:
            return path, module
    found = ", ".join(f"{path} ({len(module)})" for path, module in lists.items()) or "no list"
    raise UnsupportedModel(
        f"{type(model).__name__} has no list of {depth} blocks (config.num_hidden_layers) but "
        f"{found}; supported families: {SUPPORTED}"
    )


def _shape(block: nn.Module, matrix: str, path: str) -> tuple[int, int]:
    """(d_out, d_in) of the linear map at ``matrix``."""
    module = _submodule(block, matrix)
    weight = getattr(module, "weight", None)
    plain = isinstance(module, nn.Linear) or _is_conv1d(module)
    if not plain or weight is None or not weight.is_floating_point():
        what = (
            type(module).__name__ if weight is None else f"{type(module).__name__} {weight.dtype}"
        )
        raise UnsupportedModel(
            f"{path}.{matrix} is a {what}; a Linear or Conv1D of floating-point weights in every "
            f"block can be edited: no mixture of experts, nothing quantised"
        )
    rows, columns = weight.shape
    return (columns, rows) if _is_conv1d(module) else (rows, columns)


def _is_conv1d(module: nn.Module | None) -> bool:
    return isinstance(module, Conv1D)


def _linear_maps(block: nn.Module) -> str:
    """Names of the modules of a block that hold a matrix."""
    return ", ".join(
        path
        for path, module in block.named_modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.dim() > 1
    )


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None
