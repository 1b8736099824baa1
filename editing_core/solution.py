"""What solving a batch of edits gives: updates on the way, the exact delta, and the numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from editing_core.edit import Edit
from editing_core.values import Value
from editing_core.weights.delta import Delta


@dataclass(frozen=True)
class LayerReport:
    """What an edit did to one layer.

    Attributes:
        layer: Index of the block.
        delta_norm: Frobenius norm of the edit's part of Δ, or of all of Δ where it has no part.
        achieved_fraction: ‖Δ k‖/‖r‖ of that part at the edit's key: 1 writes the whole residual;
            None where the method has no residual.
    """

    layer: int
    delta_norm: float
    achieved_fraction: float | None


@dataclass(frozen=True)
class EditReport:
    """How one edit was solved.

    Attributes:
        edit: Its id.
        value_steps: Adam updates taken.
        value_loss: Loss they ended at.
        layers: One report per edited layer.
    """

    edit: str
    value_steps: int
    value_loss: float
    layers: tuple[LayerReport, ...]


Phase = Literal["values", "keys", "solve", "projection"]


@dataclass
class Seconds:
    """Wall time by phase."""

    values: float = 0.0
    keys: float = 0.0
    solve: float = 0.0
    projection: float = 0.0


@dataclass(frozen=True)
class Solution:
    """What ``Editor.solve`` returns; no weight has changed yet.

    Attributes:
        delta: The change, on the grid.
        values: The optimised values, in the order of the edits; none for fine-tuning.
        reports: How each edit was solved, in the same order.
        seconds: Where the time went.
    """

    delta: Delta
    values: tuple[Value, ...]
    reports: tuple[EditReport, ...]
    seconds: Seconds


@dataclass(frozen=True)
class Effort:
    """How far an edit's optimisation went."""

    steps: int
    loss: float


@dataclass(frozen=True)
class LayerSolution:
    """One layer's update before it is rounded: Δ = leftᵀ right, or a dense Δ.

    Attributes:
        layer: Index of the block.
        keys: K (d_in, B).
        left: (B, d_out), the residuals; None where the method has none.
        right: (B, d_in), the adjusted keys.
        dense: Δ (d_out, d_in) where it is no longer leftᵀ right.
        effort: How far the matrix itself was optimised, where the method has no values.
    """

    layer: int
    keys: Tensor
    left: Tensor | None = None
    right: Tensor | None = None
    dense: Tensor | None = None
    effort: Effort | None = None

    @property
    def update(self) -> Tensor:
        """Δ (d_out, d_in)."""
        if self.dense is not None:
            return self.dense
        left, right = self.factors
        return left.T @ right

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Left (B, d_out) and right (B, d_in).

        Raises:
            ValueError: The update never had factors.
        """
        if self.left is None or self.right is None:
            raise ValueError(f"the update of layer {self.layer} has no factors")
        return self.left, self.right

    def report(self, edit: int) -> LayerReport:
        """What the edit in column ``edit`` of the keys did here."""
        key = self.keys[:, edit]
        if self.dense is None:
            left, right = self.factors
            norm = left[edit].norm() * right[edit].norm()
            achieved = (right[edit] @ key).abs()  # Δ_j k_j = left_j (right_j · k_j)
            return LayerReport(self.layer, float(norm), float(achieved))
        norm = self.dense.norm()
        if self.left is None:
            return LayerReport(self.layer, float(norm), None)
        achieved = (self.dense @ key).norm() / self.left[edit].norm()
        return LayerReport(self.layer, float(norm), float(achieved))


def joined(parts: Sequence[LayerSolution]) -> LayerSolution:
    """The update of one layer by edits that were solved one after another."""
    if len(parts) == 1:
        return parts[0]
    left, right = zip(*(part.factors for part in parts), strict=True)
    keys = torch.cat([part.keys for part in parts], dim=1)
    return LayerSolution(parts[0].layer, keys, torch.cat(left), torch.cat(right))


def edit_reports(
    edits: Sequence[Edit], efforts: Sequence[Effort], solved: Sequence[LayerSolution]
) -> tuple[EditReport, ...]:
    """One report per edit, in order."""
    return tuple(
        EditReport(edit.id, effort.steps, effort.loss, tuple(s.report(index) for s in solved))
        for index, (edit, effort) in enumerate(zip(edits, efforts, strict=True))
    )


class Phases:
    """Charges each instant to one phase: the innermost of those that have begun."""

    def __init__(self) -> None:
        self.seconds = Seconds()
        self._running: Phase | None = None
        self._since = 0.0

    @contextmanager
    def of(self, phase: Phase) -> Iterator[None]:
        """Charge what happens inside to a phase."""
        outer = self._running
        self._turn_to(phase)
        try:
            yield
        finally:
            self._turn_to(outer)

    def _turn_to(self, phase: Phase | None) -> None:
        now = perf_counter()
        if self._running is not None:
            vars(self.seconds)[self._running] += now - self._since
        self._running, self._since = phase, now
