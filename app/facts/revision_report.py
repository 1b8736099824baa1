"""What the worker measured of a revision when it made it: stored with it, never measured again."""

from math import isfinite

from pydantic import BaseModel, ConfigDict


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class LayerDrift(_Report):
    """Where one edited matrix has got to."""

    layer: int
    energy: float | None
    """Hyperspherical energy, relative to random neurons; None where it is no number."""
    delta_norm: float | None
    """Frobenius norm of the change since the revision before; None where it is no number."""
    key_collision: float | None
    """Largest cosine of a new key and one of the newest 1,024 live edits; None without either."""


class RevisionReport(_Report):
    """The numbers of one revision."""

    perplexity: float | None
    """Of the reference text; None where no number came of it."""
    perplexity_tokens: int
    """How much of that text was read."""
    layers: list[LayerDrift]
    recipe_digest: str
    """The recipe it was computed by."""
    canaries_kept: float
    """Share of canaries continued as by the base."""

    @property
    def energies(self) -> dict[int, float]:
        """Layer → hyperspherical energy, where it is a number."""
        return {found.layer: found.energy for found in self.layers if found.energy is not None}


def number_or_none(value: float) -> float | None:
    """The value, unless it is NaN or infinite, for which JSON has no word."""
    return value if isfinite(value) else None
