"""How far the model has gone from the unedited one, as its gates count it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp

import torch

from app.facts.revision_report import RevisionReport

_MOST_LOSS = 700.0  # exp of more leaves the floats


@dataclass(frozen=True)
class Distance:
    """Where a revision has got to; None for what cannot be told from its report.

    Attributes:
        canaries_kept: Share of canaries that are continued as the base does.
        energy_drift: Largest |HE(W) / HE(W0) − 1| of an edited matrix, W0 being the base's.
        perplexity_ratio: Perplexity on reference text, relative to the base's.
    """

    canaries_kept: float
    energy_drift: float | None
    perplexity_ratio: float | None


@dataclass(frozen=True)
class Base:
    """What the unedited model says and is.

    Attributes:
        continuations: What each canary is continued with, group by group.
        loss: Mean loss on the reference text.
        energies: Layer → hyperspherical energy.
    """

    continuations: Sequence[Sequence[str]]
    loss: float
    energies: Mapping[int, float]

    def canaries_kept(self, said: Sequence[Sequence[str]]) -> float:
        """Share of canaries continued as by it, of the group where that is least."""
        return min(map(_share_kept, self.continuations, said))

    def energy_drift(self, energies: Mapping[int, float]) -> float:
        """Largest relative distance of a matrix's energy, layer → energy, from its own."""
        return largest(abs(energy / self.energies[layer] - 1) for layer, energy in energies.items())

    def perplexity_ratio(self, loss: float) -> float:
        """Perplexity, relative to its own."""
        return exp(min(loss - self.loss, _MOST_LOSS))

    def distance(self, report: RevisionReport, tokens: int) -> Distance:
        """Where a revision has got to, by its report alone.

        Args:
            report: What was measured when it was made.
            tokens: How much of the reference text its own loss was measured on.
        """
        energies, perplexity = report.energies, None
        if report.perplexity_tokens == tokens:
            perplexity = report.perplexity
        return Distance(
            canaries_kept=report.canaries_kept,
            energy_drift=self.energy_drift(energies) if energies else None,
            perplexity_ratio=None if perplexity is None else perplexity / perplexity_of(self.loss),
        )


def perplexity_of(loss: float) -> float:
    """Perplexity at a mean loss."""
    return exp(min(loss, _MOST_LOSS))


def largest(numbers: Iterable[float]) -> float:
    """The largest, and NaN if there is one: Python's own ``max`` may pass it over."""
    return float(torch.tensor(list(numbers), dtype=torch.float64).max())


def _share_kept(before: Sequence[str], after: Sequence[str]) -> float:
    return sum(old == new for old, new in zip(before, after, strict=True)) / len(before)
