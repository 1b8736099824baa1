"""How much of the keys a null space holds, by the threshold τ that spans it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.errors import KeyOutsideNullSpace
from editing_core.methods.alphaedit import LEAST_SHARE
from editing_core.statistics import SecondMoment


@dataclass(frozen=True)
class NullSpace:
    """The null space of one layer's statistics at one threshold.

    Attributes:
        layer: The layer.
        tau: τ, in units of squared activation.
        dimensions: Of d_in, those that the null space has.
        removed_trace: Share of the keys' mean energy on ordinary text that P removes.
        kept_share: Mean of ‖Pk‖²/‖k‖² over the keys of the probe facts.
        kept_energy: Mean of ‖Pk‖² over them, what L2 is weighed against.
    """

    layer: int
    tau: float
    dimensions: int
    removed_trace: float
    kept_share: float
    kept_energy: float


def null_space_at(layer: int, moment: SecondMoment, tau: float, keys: Tensor) -> NullSpace:
    """Measure the null space of ``moment`` at ``tau`` on probe keys (d_in, B)."""
    values = moment.eigenvalues
    below = values < tau
    projected = moment.null_space(tau)(keys.double()).square().sum(0)
    return NullSpace(
        layer=layer,
        tau=tau,
        dimensions=int(below.sum()),
        removed_trace=float(values[~below].sum() / values.sum()),
        kept_share=float((projected / keys.double().square().sum(0)).mean()),
        kept_energy=float(projected.mean()),
    )


def tau_that_keeps_trace(moments: list[SecondMoment], share: float) -> float:
    """τ at which null spaces hold about ``share`` of the keys' mean energy, over the layers.

    Raises:
        ValueError: ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of the trace lies between 0 and 1, not at {share}")
    found = []
    for moment in moments:
        cumulative = moment.eigenvalues.clamp_min(0).cumsum(0) / moment.eigenvalues.sum()
        place = int((cumulative <= share).sum())
        found.append(moment.eigenvalues[min(place, len(cumulative) - 1)])
    return float(torch.stack(found).mean())


def check_usable(spaces: list[NullSpace]) -> None:
    """Refuse null spaces of which none, at any threshold, holds enough of the probes' keys.

    Raises:
        KeyOutsideNullSpace: In some layer P removes over 90 % of the keys at every τ tried.
    """
    for layer in sorted({space.layer for space in spaces}):
        best = max((s for s in spaces if s.layer == layer), key=lambda space: space.kept_share)
        if best.kept_share < LEAST_SHARE:
            raise KeyOutsideNullSpace(
                f"layer {layer}: the null space keeps {best.kept_share:.1%} of the probes' keys "
                f"at τ = {best.tau:.3g}, the best of those tried; at least {LEAST_SHARE:.0%} is "
                "needed: edit other layers, or collect statistics from another text"
            )
