"""Exact factored deltas: a weight change that adds and subtracts without a rounding error.

Each edit changes each edited matrix by left ⊗ right (left: d_out, right: d_in). Both factors are
rounded to a fixed-point grid before anything else happens to them: right is scaled by a power of
two to max |·| in [0.5, 1) and rounded to 2⁻²⁰; left takes the inverse scale and is rounded to a
grid 2^g chosen once per matrix, with at most 24 bits. Every product, and every sum of products
below 2⁵³ grid units, is then exact in float64, in any order, on any machine. So deltas are added
in blocks of many edits. Deltas and their sums are on the host, whatever device they were solved on.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from editing_core.errors import ForeignSums, GridOverflow, NonFinite
from editing_core.sums import ExactSum
from editing_core.weights.header import edits_in, metadata_in

_RIGHT_BITS = 20
_LEFT_BITS = 24
_HEADROOM_BITS = 2  # left factors may reach four times the largest base weight
_BLOCK = 512  # edits added in one product: bounds memory


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

    def select(self, rows: Sequence[int]) -> "Factors":
        """The factors of some of the edits."""
        index = torch.tensor(rows, dtype=torch.long)
        return Factors(self.left[index], self.right[index], self.keys[index])

    def update(self) -> Tensor:
        """Σ left ⊗ right, (d_out, d_in) float64, exact."""
        return self.left.double().T @ self.right.double()

    def add_to(self, total: Tensor, sign: int) -> None:
        """Add the update, or take it away, in place; ``total`` is (d_out, d_in) float64."""
        total.addmm_(self.left.double().T, self.right.double(), alpha=sign)

    def reach(self, grid: int) -> float:
        """A bound on the entries of every partial sum, in units of the matrix's grid."""
        # max |right_j| is at most 2^20 units, so max |left_j| alone bounds an edit's entries.
        units = self.left.abs().amax(dim=1).double() / 2.0**grid
        return float(units.sum()) * 2.0**_RIGHT_BITS


@dataclass(frozen=True)
class Dense:
    """The change of one matrix by n edits that have no factors of their own, on the grid.

    Attributes:
        matrix: (d_out, d_in) float32.
        keys: (n, d_in) float32, as in ``Factors``.
    """

    matrix: Tensor
    keys: Tensor

    def select(self, rows: Sequence[int]) -> "Dense":
        """All of the edits; a part of them cannot be told apart.

        Raises:
            ValueError: Only some of the edits are asked for.
        """
        if sorted(rows) != list(range(len(self.keys))):
            raise ValueError(
                f"a dense update of {len(self.keys)} edits has no part for {len(rows)} of them"
            )
        return self

    def update(self) -> Tensor:
        """The change (d_out, d_in) in float64."""
        return self.matrix.double()

    def add_to(self, total: Tensor, sign: int) -> None:
        """Add the change, or take it away, in place; ``total`` is (d_out, d_in) float64."""
        total.add_(self.matrix, alpha=sign)

    def reach(self, grid: int) -> float:
        """The largest entry, in units of the matrix's grid."""
        return float(self.matrix.abs().max()) / 2.0 ** (grid - _RIGHT_BITS)


@dataclass(frozen=True)
class Delta:
    """The weight change of one operation, on the host.

    Attributes:
        edits: Ids of the edits, in the order of the factors' rows.
        layers: Layer → factors, or a dense change where the method has none.

    Raises:
        ValueError: A tensor is on another device.
    """

    edits: tuple[str, ...]
    layers: Mapping[int, Factors | Dense]

    def __post_init__(self) -> None:
        for layer, part in self.layers.items():
            for name, tensor in vars(part).items():
                if tensor.device.type != "cpu":
                    raise ValueError(
                        f"{name} of layer {layer} is on {tensor.device}; a delta is on the host"
                    )

    def select(self, rows: Sequence[int]) -> "Delta":
        """The part of the edits at these positions of ``edits``.

        Raises:
            ValueError: The change is dense and only some of its edits are asked for.
        """
        layers = {layer: part.select(rows) for layer, part in self.layers.items()}
        return Delta(tuple(self.edits[row] for row in rows), layers)

    def to_bytes(self) -> bytes:
        """Safetensors; equal deltas give equal bytes."""
        tensors = {
            f"{layer}.{name}": tensor.contiguous()
            for layer, part in self.layers.items()
            for name, tensor in vars(part).items()
        }
        return save(tensors, metadata={"edits": json.dumps(self.edits)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Delta":
        """Read what ``to_bytes`` wrote."""
        parts = defaultdict[int, dict[str, Tensor]](dict)
        for path, tensor in load(data).items():
            layer, name = path.split(".")
            parts[int(layer)][name] = tensor
        layers = {layer: _part(tensors) for layer, tensors in sorted(parts.items())}
        return cls(edits_in(data), layers)


def _part(tensors: dict[str, Tensor]) -> Factors | Dense:
    return Dense(**tensors) if "matrix" in tensors else Factors(**tensors)


def left_grid(weight: Tensor) -> int:
    """Exponent g of the grid 2^g of left factors for a base matrix, from its largest entry."""
    _, exponent = torch.frexp(weight.abs().max().double())
    return int(exponent) + _HEADROOM_BITS - _LEFT_BITS


def on_grid(left: Tensor, right: Tensor, keys: Tensor, grid: int) -> Factors:
    """Round the factors of n edits, left (n, d_out) and right (n, d_in), to the grid.

    They may be on any device; the rounded ones are on the host.

    Raises:
        NonFinite: A factor holds NaN or infinity.
        GridOverflow: A left factor needs more than 24 bits: the update is larger than any
            sensible one.
    """
    left, right = left.cpu().double(), right.cpu().double()
    broken = _rows(~(torch.isfinite(left).all(dim=1) & torch.isfinite(right).all(dim=1)))
    if broken:
        raise NonFinite("an update holds NaN or infinity; nothing was written", rows=broken)
    _, exponent = torch.frexp(right.abs().amax(dim=1, keepdim=True))
    scale = torch.ldexp(torch.ones_like(right[:, :1]), exponent)  # max |right / scale| in [½, 1)
    right_units = torch.round(right / scale * 2**_RIGHT_BITS)
    left_units = torch.round(left * scale / 2.0**grid)
    largest = left_units.abs().amax(dim=1)
    too_large = _rows(largest >= 2**_LEFT_BITS)
    if too_large:
        raise GridOverflow(
            f"an update reaches {float(largest.max()) * 2.0**grid:.3g}; "
            f"factors are kept below {2.0 ** (grid + _LEFT_BITS):.3g}",
            rows=too_large,
        )
    return Factors(
        left=(left_units * 2.0**grid).float(),
        right=(right_units / 2**_RIGHT_BITS).float(),
        keys=keys.cpu().float(),
    )


def _rows(where: Tensor) -> list[int]:
    found: list[int] = where.nonzero().flatten().tolist()
    return found


def dense_on_grid(matrix: Tensor, keys: Tensor, grid: int) -> Dense:
    """Round a change (d_out, d_in) to the grid of products, with at most 24 bits.

    It may be on any device; the rounded one is on the host.

    Raises:
        NonFinite: The change holds NaN or infinity.
    """
    matrix = matrix.cpu().double()
    if not torch.isfinite(matrix).all():
        raise NonFinite("an update holds NaN or infinity; nothing was written")
    _, exponent = torch.frexp(matrix.abs().max())
    step = 2.0 ** max(int(exponent) - _LEFT_BITS, grid - _RIGHT_BITS)
    return Dense((torch.round(matrix / step) * step).float(), keys.cpu().float())


class Weights:
    """The edited matrices as a pure function of the base and the set of live factors.

    Immutable: a change gives a new object, so whoever holds one can go on reading it. The sum of
    factors is exact, so neither the order of changes nor how they are grouped leaves a trace.
    """

    def __init__(self, base: Mapping[int, Tensor]) -> None:
        """The base model's matrices, layer → (d_out, d_in); kept as they are, never written."""
        self._base = dict(base)
        self._sums = {
            layer: ExactSum(torch.zeros(weight.shape, dtype=torch.float64), left_grid(weight))
            for layer, weight in base.items()
        }

    def changed(self, *, add: Iterable[Delta] = (), subtract: Iterable[Delta] = ()) -> "Weights":
        """The weights with the factors of ``add`` live and those of ``subtract`` no longer.

        Raises:
            GridOverflow: A sum could leave the exact range.
        """
        sums = {layer: total.copy() for layer, total in self._sums.items()}
        for deltas, sign in ((subtract, -1), (add, 1)):
            for layer, part in _blocks(deltas):
                sums[layer].accumulate(part, sign)
        return self._with(sums)

    def materialise(self) -> dict[int, Tensor]:
        """The edited matrices, layer → cast(W0 + Σ): one rounding to float64, one to the dtype."""
        return {
            layer: (base.cpu().double() + self._sums[layer].total).to(base.dtype).to(base.device)
            for layer, base in self._base.items()
        }

    def distances(self, other: "Weights") -> dict[int, float]:
        """Layer → Frobenius norm of what separates two sums on one base."""
        return {
            layer: float((mine.total - other._sums[layer].total).norm())
            for layer, mine in self._sums.items()
        }

    def to_bytes(self) -> bytes:
        """The sums as safetensors; whatever led to the same live factors gives the same bytes."""
        tensors = {str(layer): part.total for layer, part in self._sums.items()}
        # One text, since safetensors keeps several entries in no particular order.
        described = {layer: [part.grid, int(part.bound)] for layer, part in self._sums.items()}
        return save(tensors, metadata={"sums": json.dumps(described, sort_keys=True)})

    @classmethod
    def from_bytes(cls, base: Mapping[int, Tensor], data: bytes) -> "Weights":
        """Read what ``to_bytes`` wrote of weights on this base.

        Raises:
            ForeignSums: They are of other layers, shapes or grids.
        """
        stored = {int(layer): total for layer, total in load(data).items()}
        empty = cls(base)
        if stored.keys() != base.keys():
            raise ForeignSums(
                f"the stored sums are of layers {sorted(stored)}; the base has {sorted(base)}"
            )
        sums = {}
        for name, (grid, bound) in json.loads(metadata_in(data)["sums"]).items():
            layer = int(name)
            sums[layer] = ExactSum(stored[layer], grid, float(bound))
            sums[layer].require_like(empty._sums[layer], layer)
        return empty._with(sums)

    def _with(self, sums: dict[int, ExactSum]) -> "Weights":
        weights = Weights.__new__(Weights)
        weights._base, weights._sums = self._base, sums
        return weights


def _blocks(deltas: Iterable[Delta]) -> Iterator[tuple[int, Factors | Dense]]:
    """What the deltas change in each layer, about ``_BLOCK`` edits at a time."""
    block, edits = list[Delta](), 0
    for delta in deltas:
        block.append(delta)
        edits += len(delta.edits)
        if edits >= _BLOCK:
            yield from _by_layer(block)
            block, edits = [], 0
    yield from _by_layer(block)


def _by_layer(deltas: Sequence[Delta]) -> Iterator[tuple[int, Factors | Dense]]:
    """The factors of all deltas as one part a layer; each dense change by itself."""
    factors = defaultdict[int, list[Factors]](list)
    for delta in deltas:
        for layer, part in delta.layers.items():
            if isinstance(part, Dense):
                yield layer, part
            else:
                factors[layer].append(part)
    for layer, parts in factors.items():
        columns = zip(*((part.left, part.right, part.keys) for part in parts), strict=True)
        yield layer, Factors(*map(torch.cat, columns))


def keys_of(deltas: Sequence[Delta]) -> dict[int, Tensor]:
    """Keys of the edits of all deltas, layer → (N, d_in), in order; empty without deltas."""
    layers = sorted({layer for delta in deltas for layer in delta.layers})
    return {
        layer: torch.cat([delta.layers[layer].keys for delta in deltas if layer in delta.layers])
        for layer in layers
    }
