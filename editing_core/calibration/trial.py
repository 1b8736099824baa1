"""What a calibration tried, and what came of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

from editing_core.calibration.nullspace import NullSpace
from editing_core.recipe import Recipe

_HORIZON = 1000  # edits whose damage a trial is charged with


@dataclass(frozen=True)
class Trial:
    """One recipe, tried on the probe facts in one batch.

    Attributes:
        method: The method it was tried with.
        layers: Edited layers.
        tau: AlphaEdit's τ.
        l2: AlphaEdit's ridge.
        memit_lambda: MEMIT's λ.
        efficacy_accuracy: Share of the facts whose every token is the arg-max afterwards.
        generalization: Share of paraphrases that prefer the new object.
        specificity: Share of neighbours that keep to the true object.
        perplexity_ratio: Perplexity after over before.
        facts: How many facts were edited.
        refusal: Why nothing could be edited, or None; then the numbers are zero.
    """

    method: str
    layers: tuple[int, ...]
    tau: float
    l2: float
    memit_lambda: float
    efficacy_accuracy: float
    generalization: float
    specificity: float
    perplexity_ratio: float
    facts: int
    refusal: str | None = None

    @property
    def score(self) -> float:
        """Mean share of what works, less what a thousand such edits would do to the model.

        The damage is the logarithm of the perplexity's ratio, as if every edit did as much as
        each of these: an edit that works is worth little if the model does not outlive it.
        """
        if self.refusal is not None:
            return float("-inf")
        works = (self.efficacy_accuracy + self.generalization + self.specificity) / 3
        return works - log(self.perplexity_ratio) / self.facts * _HORIZON


@dataclass(frozen=True)
class Calibration:
    """A recipe and the evidence for it.

    Attributes:
        recipe: The one to edit by.
        trials: What was tried, in order.
        spaces: The null spaces that were measured.
        chosen: The trials that decided, one of each method.
    """

    recipe: Recipe
    trials: Sequence[Trial]
    spaces: Sequence[NullSpace]
    chosen: Sequence[Trial]

    def to_record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "recipe": self.recipe.digest,
            "model": self.recipe.model_digest,
            "statistics": self.recipe.statistics_digest,
            "chosen": [asdict(trial) | {"score": trial.score} for trial in self.chosen],
            "trials": [
                asdict(trial) | {"score": None if trial.refusal else trial.score}
                for trial in self.trials
            ],
            "null_spaces": [asdict(space) for space in self.spaces],
        }
