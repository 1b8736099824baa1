"""Running parts of a decoder on rows of unequal length, end to end, without padding.

Linear maps, norms and rotary embeddings see one row of all positions, so padding costs them
nothing; only attention, which must not mix rows, unpacks into a padded batch and back. Keys and
values of positions that no longer change are computed once and kept in a ``Prefix``.
The model's own forward does the work: blocks are wrapped, so that a run can enter the stack at
any block and leave it after any other (`algorithms.md` §8.2).
"""

from dataclasses import dataclass, field
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
        attn_mask=packing.mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return packing.pack(out), None


AttentionInterface.register(_ATTENTION, _packed_attention)


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

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.layer < self.run.first:
            return hidden
        if self.layer == self.run.first and self.run.entering is not None:
            hidden = self.run.entering[None]
        if self.run.last is not None and self.layer > self.run.last:
            raise _Left(hidden[0])
        out: Tensor = self.block(hidden, *args, **kwargs)
        return out

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


@dataclass
class _Run:
    """Where the current run enters and leaves the stack."""

    first: int = 0
    last: int | None = None
    entering: Tensor | None = None


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

    def matrix(self, layer: int) -> nn.Linear:
        """The edited linear map of ``layer``."""
        path = f"{self.architecture.blocks}.{layer}.block.{self.architecture.matrix}"
        return cast("nn.Linear", self.model.get_submodule(path))

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
        run.first, run.last, run.entering = first, last, entering
        try:
            out = self.model.base_model(
                input_ids=tokens[None],
                position_ids=packing.positions,
                use_cache=False,
                packing=packing,
            )
        finally:
            run.entering = None
        hidden: Tensor = out.last_hidden_state[0]
        return hidden
