"""The exact sum of changes of one matrix."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from editing_core.errors import ForeignSums, GridOverflow

_EXACT = 2**53  # float64 holds every integer up to here


class Summand(Protocol):
    """A change of a matrix whose entries are on the grid of products."""

    def add_to(self, total: Tensor, sign: int) -> None:
        """Add it, or take it away, in place; ``total`` is (d_out, d_in) float64."""
        ...

    def reach(self, grid: int) -> float:
        """A bound on the entries of every partial sum, in units of the matrix's grid."""
        ...


@dataclass
class ExactSum:
    """Σ of the changes of one matrix, on the host.

    Attributes:
        total: (d_out, d_in) float64.
        grid: Exponent g of the left factors' grid.
        bound: No entry of any partial sum exceeds this many grid units.
    """

    total: Tensor
    grid: int
    bound: float = 0.0

    def copy(self) -> "ExactSum":
        """One that may change while this stays."""
        return ExactSum(self.total.clone(), self.grid, self.bound)

    def accumulate(self, part: Summand, sign: int) -> None:
        """Add a change (sign 1), or take one away that is in the sum (sign −1).

        Raises:
            GridOverflow: The sum could leave the exact range.
        """
        bound = self.bound + sign * part.reach(self.grid)
        if bound >= _EXACT:
            raise GridOverflow("the live edits' factors would no longer add up exactly")
        part.add_to(self.total, sign)
        self.bound = bound

    def require_like(self, other: "ExactSum", layer: int) -> None:
        """Refuse a sum that was stored of another matrix than ``layer``'s, which has ``other``.

        Raises:
            ForeignSums: It differs in shape, number format or grid.
        """
        for name, mine, needed in (
            ("shape", tuple(self.total.shape), tuple(other.total.shape)),
            ("number format", self.total.dtype, other.total.dtype),
            ("grid", self.grid, other.grid),
        ):
            if mine != needed:
                raise ForeignSums(
                    f"the stored sum of layer {layer} has {name} {mine}; the base needs {needed}"
                )
