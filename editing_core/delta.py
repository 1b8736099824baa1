"""Exact factored deltas: a weight change that adds and subtracts without a rounding error.

Each edit changes each edited matrix by left ⊗ right (left: d_out, right: d_in). Both factors are
rounded to a fixed-point grid before anything else happens to them: right is scaled by a power of
two to max |·| in [0.5, 1) and rounded to 2⁻²⁰; left takes the inverse scale and is rounded to a
grid 2^g chosen once per matrix, with at most 24 bits. Every product, and every sum of products
below 2⁵³ grid units, is then exact in float64, in any order, on any machine.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from editing_core.errors import GridOverflow, NonFinite

_RIGHT_BITS = 20
_LEFT_BITS = 24
_HEADROOM_BITS = 2  # left factors may reach four times the largest base weight
_EXACT = 2**53  # float64 holds every integer up to here


@dataclass(frozen=True)
class Factors:
    """The factors of n edits in one matrix, on the grid.

    Attributes:
        left: (n, d_out) float32.
        right: (n, d_in) float32.
        keys: (n, d_in) float32, the averaged keys of the edits (what AlphaEdit remembers).
    """

    left: Tensor
    right: Tensor
    keys: Tensor

    def of(self, index: int) -> "Factors":
        """The factors of one edit."""
        row = slice(index, index + 1)
        return Factors(self.left[row], self.right[row], self.keys[row])


@dataclass(frozen=True)
class Delta:
    """The weight change of one operation.

    Attributes:
        edits: Ids of the edits, in the order of the factors' rows.
        layers: Layer → factors.
    """

    edits: tuple[str, ...]
    layers: Mapping[int, Factors]

    def of(self, edit: str) -> "Delta":
        """The part of one edit.

        Raises:
            ValueError: The delta holds no such edit.
        """
        index = self.edits.index(edit)
        return Delta((edit,), {layer: factors.of(index) for layer, factors in self.layers.items()})

    def to_bytes(self) -> bytes:
        """Safetensors; equal deltas give equal bytes."""
        tensors = {
            f"{layer}.{name}": getattr(factors, name).contiguous()
            for layer, factors in self.layers.items()
            for name in ("left", "right", "keys")
        }
        return save(tensors, metadata={"edits": json.dumps(self.edits)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Delta":
        """Read what ``to_bytes`` wrote."""
        tensors = load(data)
        layers = sorted({int(name.split(".")[0]) for name in tensors})
        factors = {
            layer: Factors(*(tensors[f"{layer}.{name}"] for name in ("left", "right", "keys")))
            for layer in layers
        }
        return cls(tuple(json.loads(_metadata(data)["edits"])), factors)


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
    return metadata


def left_grid(weight: Tensor) -> int:
    """Exponent g of the grid 2^g of left factors for a base matrix, from its largest entry."""
    _, exponent = torch.frexp(weight.abs().max().double())
    return int(exponent) + _HEADROOM_BITS - _LEFT_BITS


def on_grid(left: Tensor, right: Tensor, keys: Tensor, grid: int) -> Factors:
    """Round the factors of n edits, left (n, d_out) and right (n, d_in), to the grid.

    Raises:
        NonFinite: A factor holds NaN or infinity.
        GridOverflow: A left factor needs more than 24 bits: the update is larger than any
            sensible one.
    """
    left, right = left.double(), right.double()
    if not (torch.isfinite(left).all() and torch.isfinite(right).all()):
        raise NonFinite("an update holds NaN or infinity; nothing was written")
    _, exponent = torch.frexp(right.abs().amax(dim=1, keepdim=True))
    scale = torch.ldexp(torch.ones_like(right[:, :1]), exponent)  # max |right / scale| in [½, 1)
    right_units = torch.round(right / scale * 2**_RIGHT_BITS)
    left_units = torch.round(left * scale / 2.0**grid)
    if float(left_units.abs().max()) >= 2**_LEFT_BITS:
        raise GridOverflow(
            f"an update reaches {float(left_units.abs().max()) * 2.0**grid:.3g}; "
            f"factors are kept below {2.0 ** (grid + _LEFT_BITS):.3g}"
        )
    return Factors(
        left=(left_units * 2.0**grid).float(),
        right=(right_units / 2**_RIGHT_BITS).float(),
        keys=keys.float(),
    )


class ExactSum:
    """Σ of live factors in one matrix: exact, so independent of order and undone by subtraction."""

    def __init__(self, shape: torch.Size, grid: int) -> None:
        self._total = torch.zeros(shape, dtype=torch.float64)  # (d_out, d_in)
        self._grid = grid
        self._bound = 0.0  # no entry of any partial sum exceeds this many grid units

    def add(self, factors: Factors) -> None:
        """Add the products of ``factors``.

        Raises:
            GridOverflow: The sum could leave the exact range.
        """
        bound = self._bound + self._reach(factors)
        if bound >= _EXACT:
            raise GridOverflow("the live edits' factors no longer add up exactly; revert some")
        self._total.addmm_(factors.left.double().T, factors.right.double())
        self._bound = bound

    def subtract(self, factors: Factors) -> None:
        """Take back what ``add`` added; exact."""
        self._total.addmm_(factors.left.double().T, factors.right.double(), alpha=-1)
        self._bound -= self._reach(factors)

    def applied_to(self, base: Tensor) -> Tensor:
        """cast(base + Σ): one rounding to float64, one to the dtype of ``base``."""
        return (base.cpu().double() + self._total).to(base.dtype).to(base.device)

    def _reach(self, factors: Factors) -> float:
        """Σ_j max|left_j| · max|right_j| in grid units; max|right_j| is at most one."""
        units = factors.left.abs().amax(dim=1).double() / 2.0**self._grid
        return float(units.sum()) * 2.0**_RIGHT_BITS


class Weights:
    """The edited matrices as a pure function of the base and the set of live factors."""

    def __init__(self, base: Mapping[int, Tensor]) -> None:
        """Args: base: layer → the base model's matrix (d_out, d_in); never written."""
        self._base = dict(base)
        self.grids = {layer: left_grid(weight) for layer, weight in self._base.items()}
        self._sums = {
            layer: ExactSum(weight.shape, self.grids[layer]) for layer, weight in base.items()
        }

    def add(self, deltas: Iterable[Delta]) -> None:
        """Make the edits of ``deltas`` live."""
        for delta in deltas:
            for layer, factors in delta.layers.items():
                self._sums[layer].add(factors)

    def subtract(self, deltas: Iterable[Delta]) -> None:
        """Make the edits of ``deltas`` cease to be live."""
        for delta in deltas:
            for layer, factors in delta.layers.items():
                self._sums[layer].subtract(factors)

    def materialise(self) -> dict[int, Tensor]:
        """The edited matrices, layer → (d_out, d_in) in the base's dtype."""
        return {layer: self._sums[layer].applied_to(base) for layer, base in self._base.items()}


def joined(deltas: Sequence[Delta]) -> dict[int, Tensor]:
    """Keys of the edits of all deltas, layer → (N, d_in), in order."""
    layers = deltas[0].layers if deltas else {}
    return {layer: torch.cat([delta.layers[layer].keys for delta in deltas]) for layer in layers}
