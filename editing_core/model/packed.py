"""Running parts of a decoder on rows of unequal length, end to end, without padding.

Linear maps, norms and rotary embeddings see one row of all positions, so padding costs them
nothing; only attention, which must not mix rows, unpacks into a padded batch and back. Keys and
values of positions that no longer change are computed once and kept in a ``Prefix``.
The model's own forward does the work: blocks are wrapped, so that a run can enter the stack at
any block and leave it after any other.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from editing_core.errors import UnsupportedModel
from editing_core.model.architecture import Architecture
from editing_core.model.linear import fast_linear
from editing_core.model.packing import Packing
from editing_core.model.view import private_copy

_ATTENTION = "errata_packed"


def _packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_ignored: object,
) -> tuple[Tensor, None]:
    """Attention of each packed row to its prefix and itself; shapes (1, heads, T, size)."""
    if softcap is not None:
        raise UnsupportedModel("attention with soft-capped scores is not supported")
    query, key, value = packing.pad(query), packing.pad(key), packing.pad(value)
    if packing.record is not None:
        packing.record.layers[module.layer_idx] = (key, value)
    if packing.prefix is not None:
        past_key, past_value = packing.prefix.layers[module.layer_idx]
        key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=packing.within(sliding_window),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return packing.pack(out), None


AttentionInterface.register(_ATTENTION, _packed_attention)


def attends_on_its_own(module: nn.Module) -> bool:
    """Whether an attention module asks its method ``_attn`` and not the interface: GPT-J."""
    return hasattr(module, "_attn") and hasattr(module, "scale_attn")


def _own_attention(
    module: Any, run: "_Run", query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, None]:
    """Packed attention in place of ``module._attn``, whose scores are in float32, too."""
    if run.packing is None:
        raise RuntimeError("packed attention outside of a run")
    out, _ = _packed_attention(
        module,
        query.float(),
        key.float(),
        value.float(),
        mask,
        packing=run.packing,
        scaling=1 / float(module.scale_attn),
    )
    return out.transpose(1, 2).to(value.dtype), None


def hidden_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states in what a block returns: they, or a tuple that they lead (GPT-J)."""
    return output[0] if isinstance(output, tuple) else output


class _Left(Exception):
    """Control flow out of the model's forward: a run has what it came for."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _Stage(nn.Module):
    """A block that a run can skip, enter at, or leave: after it, or before the first."""

    def __init__(self, block: nn.Module, layer: int, run: "_Run") -> None:
        super().__init__()
        self.block = block
        self.layer = layer
        self.run = run

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        run = self.run
        if self.layer < run.first:
            # Nobody reads it: where the run enters, `entering` takes its place. A tuple suits
            # models that unpack what a block returns and models that do not.
            return (hidden,)
        if self.layer == run.first and run.entering is not None:
            hidden = run.entering[None]
        if run.last is not None and self.layer > run.last:
            raise _Left(hidden[0])
        out = self.block(hidden, *args, **kwargs)
        if self.layer == run.last:
            raise _Left(hidden_of(out)[0])
        return out

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


@dataclass
class _Run:
    """Where the current run enters and leaves the stack, and how its rows lie."""

    first: int = 0
    last: int | None = None
    entering: Tensor | None = None
    packing: Packing | None = None


class PackedModel:
    """A private copy of a view that runs any range of its blocks on packed rows.

    One run at a time: the copy keeps where the run enters and leaves.
    """

    def __init__(self, view: PreTrainedModel, architecture: Architecture) -> None:
        self.model = private_copy(view)
        self.model.config._attn_implementation = _ATTENTION
        self.architecture = architecture
        self._run = _Run()
        blocks = cast("nn.ModuleList", self.model.get_submodule(architecture.blocks))
        for layer, block in enumerate(blocks):
            blocks[layer] = _Stage(block, layer, self._run)
            for module in block.modules():
                if attends_on_its_own(module):
                    vars(module)["_attn"] = partial(_own_attention, module, self._run)
        for module in self.model.modules():
            if type(module) is nn.Linear:
                vars(module)["forward"] = partial(fast_linear, module)

    def run(
        self,
        tokens: Tensor,
        packing: Packing,
        *,
        entering: Tensor | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> Tensor:
        """Hidden states (T, d) after block ``last``, or after the final norm if it is None.

        Args:
            tokens: (T,) token ids of the packed rows.
            packing: Their layout.
            entering: (T, d) input of block ``first``; needed if ``first`` is not 0.
            first: Block at which the run enters.
            last: Block after which it leaves; −1 leaves before the first.

        Raises:
            UnsupportedModel: There is no block ``first``; a value needs one above the edited ones.
        """
        if first >= self.architecture.layers:
            raise UnsupportedModel(
                f"no block {first} to enter: the model has {self.architecture.layers}, and at "
                "least one must lie above the edited layers"
            )
        try:
            hidden = self._enter(tokens, packing, entering, first, last)
        except _Left as left:
            hidden = left.hidden
        return hidden

    def keys(
        self, tokens: Tensor, packing: Packing, entering: Tensor, layer: int, at: Tensor
    ) -> Tensor:
        """Inputs (N, d_in) of the edited matrix of ``layer`` at packed indices ``at`` (N,)."""

        def capture(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            raise _Left(args[0][0, at])

        handle = self.matrix(layer).register_forward_pre_hook(capture)
        try:
            self._enter(tokens, packing, entering, layer, layer)
        except _Left as left:
            return left.hidden
        finally:
            handle.remove()
        raise UnsupportedModel(f"block {layer} never reads its {self.architecture.matrix}")

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (N, vocabulary) of final-normed hidden states (N, d)."""
        out: Tensor = self.model.get_output_embeddings()(hidden)
        return out

    def matrix(self, layer: int) -> nn.Module:
        """The edited linear map of ``layer``."""
        return self.model.get_submodule(self.architecture.module(layer))

    def weight(self, layer: int) -> Tensor:
        """The edited weight (d_out, d_in) of ``layer``: the view's own memory, no copy."""
        return self.architecture.weight_of(self.model, layer)

    def _enter(
        self,
        tokens: Tensor,
        packing: Packing,
        entering: Tensor | None,
        first: int,
        last: int | None,
    ) -> Tensor:
        """Final-normed hidden states (T, d), unless something raises ``_Left`` on the way."""
        run = self._run
        run.first, run.last, run.entering, run.packing = first, last, entering, packing
        try:
            out = self.model.base_model(
                input_ids=tokens[None],
                position_ids=packing.positions,
                use_cache=False,
                packing=packing,
            )
        finally:
            run.entering = run.packing = None
        hidden: Tensor = out.last_hidden_state[0]
        return hidden
