"""How rows of unequal length lie end to end, and what of them is remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor


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

    def above(self, layer: int) -> "Prefix":
        """What is remembered of the layers above one."""
        return Prefix(self.lengths, {n: kept for n, kept in self.layers.items() if n > layer})

    def followed_by(self, own: "Prefix") -> "Prefix":
        """This prefix and, in each row behind it, another; of the layers that both remember."""
        width = next(iter(self.layers.values()))[0].shape[2]
        total = self.lengths + own.lengths
        place = torch.arange(int(total.max()), device=total.device).expand(len(total), -1)
        before = self.lengths[:, None]
        source = torch.where(place < before, place, width + place - before)  # (R, longest)

        def joined(ours: Tensor, theirs: Tensor) -> Tensor:
            both = torch.cat([ours, theirs], dim=2)
            index = source.clamp_max(both.shape[2] - 1)[:, None, :, None]
            return both.gather(2, index.expand(-1, both.shape[1], -1, both.shape[3]))

        layers = {
            layer: (joined(self.layers[layer][0], key), joined(self.layers[layer][1], value))
            for layer, (key, value) in own.layers.items()
        }
        return Prefix(total, layers)


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

    @property
    def ends(self) -> Tensor:
        """(R,) index of each row's last position in the packed sequence."""
        return self.starts + self.lengths - 1

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


@dataclass(frozen=True)
class PackedRows:
    """Rows of token ids, end to end.

    Attributes:
        tokens: (T,) their ids.
        packing: How they lie.
        own: Keys and values of the rows, where a run was to record them.
    """

    tokens: Tensor
    packing: Packing
    own: Prefix

    @classmethod
    def of(
        cls,
        rows: Sequence[list[int]],
        device: torch.device,
        *,
        prefix: Prefix | None = None,
        record: bool = False,
    ) -> Self:
        """Lay out rows, after their prefixes if those remember anything."""
        lengths = torch.tensor([len(row) for row in rows], device=device)
        tokens = torch.tensor([token for row in rows for token in row], device=device)
        own = Prefix(lengths)
        before = prefix if prefix is not None and prefix.layers else None
        return cls(tokens, Packing.of(lengths, prefix=before, record=own if record else None), own)
