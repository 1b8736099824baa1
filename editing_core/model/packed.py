"""Running parts of a decoder on rows of unequal length, end to end, without padding.

Linear maps, norms and rotary embeddings see one row of all positions, so padding costs them
nothing; only attention, which must not mix rows, unpacks into a padded batch and back. Keys and
values of positions that no longer change are computed once and kept in a ``Prefix``.
The model's own forward does the work: blocks are wrapped, so that a run can enter the stack at
any block and leave it after any other (`algorithms.md` §8.2).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from editing_core.errors import UnsupportedModel
from editing_core.model.architecture import Architecture
from editing_core.model.view import private_copy

_ATTENTION = "errata_packed"


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the positions before the packed ones, per layer, padded on the right.

    Attributes:
        lengths: (R,) positions each row has.
        layers: layer → keys, values, each (R, heads, longest, head size).
    """

    lengths: Tensor
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def select(self, rows: Tensor) -> "Prefix":
        """The prefix of these rows alone, no wider than the longest of them needs."""
        lengths = self.lengths[rows]
        width = int(lengths.max())
        layers = {
            layer: (k[rows, :, :width], v[rows, :, :width]) for layer, (k, v) in self.layers.items()
        }
        return Prefix(lengths, layers)


@dataclass(frozen=True)
class Packing:
    """How R rows lie end to end in T = Σ lengths positions.

    Attributes:
        lengths: (R,) positions of each row.
        starts: (R,) index of each row's first position in the packed sequence.
        flat: (T,) index of each packed position in the padded (R · longest) layout.
        positions: (1, T) position of each in its own sentence, prefix counted.
        mask: (R, 1, longest, prefix + longest) what each padded query may look at.
        prefix: Earlier positions of the rows, if any.
        record: Where to put this run's keys and values, if anywhere.
    """

    lengths: Tensor
    starts: Tensor
    flat: Tensor
    positions: Tensor
    mask: Tensor
    prefix: Prefix | None = None
    record: Prefix | None = None

    @classmethod
    def of(
        cls, lengths: Tensor, *, prefix: Prefix | None = None, record: Prefix | None = None
    ) -> "Packing":
        """Lay out rows of the given lengths (R,) after their prefixes."""
        longest = int(lengths.max())
        inside = torch.arange(longest, device=lengths.device).expand(len(lengths), -1)
        present = inside < lengths[:, None]  # (R, longest)
        before = torch.zeros_like(lengths) if prefix is None else prefix.lengths
        causal = inside[:, None, :] <= inside[:, :, None]  # (R, longest, longest)
        mask = causal
        if prefix is not None:
            width = int(before.max())
            seen = torch.arange(width, device=lengths.device) < before[:, None]  # (R, width)
            mask = torch.cat([seen[:, None, :].expand(-1, longest, -1), causal], dim=2)
        return cls(
            lengths=lengths,
            starts=lengths.cumsum(0) - lengths,
            flat=present.flatten().nonzero().squeeze(1),
            positions=(inside + before[:, None])[present][None],
            mask=mask[:, None],
            prefix=prefix,
            record=record,
        )

    def within(self, window: int | None) -> Tensor:
        """``mask``, less what lies ``window`` or more positions before a query."""
        if window is None or self.mask.shape[3] <= window:
            return self.mask
        rows, longest = len(self.lengths), self.mask.shape[2]
        inside = torch.arange(longest, device=self.mask.device).expand(rows, -1)
        if self.prefix is None:
            queries = keys = inside
        else:
            queries = inside + self.prefix.lengths[:, None]  # (R, longest)
            width = self.mask.shape[3] - longest
            before = torch.arange(width, device=self.mask.device).expand(rows, -1)
            keys = torch.cat([before, queries], dim=1)
        near = queries[:, :, None] - keys[:, None, :] < window
        return self.mask & near[:, None]

    def pad(self, packed: Tensor) -> Tensor:
        """(1, heads, T, size) → (R, heads, longest, size), zeros where a row has ended."""
        _, heads, _, size = packed.shape
        rows, longest = len(self.lengths), self.mask.shape[2]
        padded = packed.new_zeros(rows * longest, heads, size)
        padded = padded.index_copy(0, self.flat, packed[0].transpose(0, 1))
        return padded.view(rows, longest, heads, size).transpose(1, 2)

    def pack(self, padded: Tensor) -> Tensor:
        """(R, heads, longest, size) → (1, T, heads, size)."""
        rows, heads, longest, size = padded.shape
        flat = padded.transpose(1, 2).reshape(rows * longest, heads, size)
        return flat.index_select(0, self.flat)[None]


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
    """A block that a run can skip, enter at, or leave before."""

    def __init__(self, block: nn.Module, layer: int, run: "_Run") -> None:
        super().__init__()
        self.block = block
        self.layer = layer
        self.run = run

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.layer < self.run.first:
            # Nobody reads it: where the run enters, `entering` takes its place. A tuple suits
            # models that unpack what a block returns and models that do not.
            return (hidden,)
        if self.layer == self.run.first and self.run.entering is not None:
            hidden = self.run.entering[None]
        if self.run.last is not None and self.layer > self.run.last:
            raise _Left(hidden[0])
        return self.block(hidden, *args, **kwargs)

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
        """
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
