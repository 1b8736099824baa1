"""What the core takes for granted about a model, tried on a few tokens before any edit.

Names alone do not tell whether a norm follows the edited matrix, whether a scale lies between it
and the residual stream, or whether attention can be packed; a model says so itself when asked.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from editing_core.errors import UnsupportedModel
from editing_core.model.architecture import SUPPORTED, Architecture, resolve
from editing_core.model.packed import PackedModel, attends_on_its_own, hidden_of
from editing_core.model.packing import Packing
from editing_core.model.view import private_copy

_TOKENS = 5
_FIRST_ROW = 3
# Half-precision noise stays below these; what they are to find is of order 1.
_MOVE_TOLERANCE = 0.05
_PACKING_TOLERANCE = 0.1


@torch.no_grad()
def check(model: PreTrainedModel, architecture: Architecture) -> None:
    """Try what editing by ``architecture`` relies on; the model is left as it was.

    Raises:
        UnsupportedModel: A change of the edited matrix's output is not the change of the residual
            stream, or packed rows differ from each row alone.
    """
    _check_stream(model, architecture)
    _check_packing(model, architecture)


def _check_stream(model: PreTrainedModel, architecture: Architecture) -> None:
    """Moving the edited matrix's output by v must move its block's output by v."""
    layer = architecture.layers // 2
    twin = private_copy(model)
    block = twin.get_submodule(f"{architecture.blocks}.{layer}")
    if architecture.site == "attention":  # the feed-forward half reads what attention wrote
        feed_forward = block.get_submodule(resolve(model).matrix)
        feed_forward.register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
    outputs: list[Tensor] = []
    block.register_forward_hook(lambda _m, _a, out: outputs.append(hidden_of(out)))
    twin.base_model(_ids(model)[:, :1], use_cache=False)
    move = outputs[0]
    matrix = block.get_submodule(architecture.matrix)
    matrix.register_forward_hook(lambda _m, _a, out: out + move)
    twin.base_model(_ids(model)[:, :1], use_cache=False)
    error = float((outputs[1] - outputs[0] - move).norm() / move.norm())
    if not error <= _MOVE_TOLERANCE:
        raise UnsupportedModel(
            f"{type(model).__name__} cannot be edited at {architecture.matrix}: moving its output "
            f"by v does not move the output of {type(block).__name__} by v (relative difference "
            f"{error:.2g}), so an update Δ would not write Δk into the residual stream. A norm or "
            f"a scale after the matrix does that, as in Gemma 2, Gemma 3 and OLMo 2; this block's "
            f"norms are {_norms(block)}. Supported families: {SUPPORTED}"
        )


def _check_packing(model: PreTrainedModel, architecture: Architecture) -> None:
    """Two packed rows must come out as each row alone, down to the logits."""
    if not _attention_is_packable(model):
        raise UnsupportedModel(
            f"attention of {type(model).__name__} neither goes through transformers' attention "
            f"interface nor has a method `_attn`; supported families: {SUPPORTED}"
        )
    ids = _ids(model)
    packed = PackedModel(model, architecture)
    lengths = torch.tensor([_FIRST_ROW, _TOKENS - _FIRST_ROW], device=ids.device)
    found = packed.logits(packed.run(ids[0], Packing.of(lengths)))[-1]
    alone = model(ids[:, _FIRST_ROW:], use_cache=False).logits[0, -1]
    mixed = model(ids, use_cache=False).logits[0, -1]
    found, alone, mixed = (x.float().log_softmax(dim=0) for x in (found, alone, mixed))
    error = float((found - alone).norm() / (mixed - alone).norm())
    if not error <= _PACKING_TOLERANCE:
        raise UnsupportedModel(
            f"{type(model).__name__} gives packed rows other logits than each row alone (relative "
            f"difference {error:.2g}): its positions, attention or logits are computed in a way "
            f"that is not known here; supported families: {SUPPORTED}"
        )


def _attention_is_packable(model: PreTrainedModel) -> bool:
    return bool(model._supports_attention_backend) or any(
        attends_on_its_own(module) for module in model.modules()
    )


def _ids(model: PreTrainedModel) -> Tensor:
    """Token ids (1, 5): distinct, and in any vocabulary."""
    return torch.arange(1, _TOKENS + 1, device=model.device)[None]


def _norms(block: nn.Module) -> str:
    names = [name for name, _ in block.named_children() if "norm" in name or name.startswith("ln")]
    return ", ".join(names) or "unnamed"
