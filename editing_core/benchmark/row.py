"""A row: one measurement of one method after some edits."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Self


@dataclass(frozen=True)
class Provenance:
    """Where a measurement comes from.

    Attributes:
        commit: Version of the code.
        machine: Processor, cores, threads, versions of what does the arithmetic.
        command: The command line.
    """

    commit: str
    machine: str
    command: str


PERCENTAGES = (
    "efficacy",
    "generalization",
    "specificity",
    "efficacy_accuracy",
    "generalization_accuracy",
    "specificity_accuracy",
    "chat_efficacy",
    "chat_efficacy_accuracy",
)


@dataclass(frozen=True)
class Row:
    """What one method had done to the model after ``edits`` edits.

    Attributes:
        method: Name of the method; ``unedited`` for the base model.
        edits: Edits asked for so far.
        efficacy: See ``Metrics``, as for the next five and the last two.
        perplexity: On the reference text; None if it is not finite.
        energy_ratio: Hyperspherical energy of the edited matrices relative to the unedited ones,
            averaged over the layers; 1 is no change.
        seconds_per_edit: Wall time of editing, by edit; measuring does not count.
        seconds: The same in total by phase, and what measuring took.
        energy: Layer → energy of its edited matrix relative to random rows.
        measured: How many records the percentages are of.
        refused: Edits that could not be solved and were left out.
        commit: Version of the code that measured.
        machine: What it ran on.
        command: How it was called.
    """

    method: str
    edits: int
    efficacy: float | None
    generalization: float | None
    specificity: float | None
    efficacy_accuracy: float | None
    generalization_accuracy: float | None
    specificity_accuracy: float | None
    perplexity: float | None
    energy_ratio: float
    seconds_per_edit: float
    seconds: dict[str, float]
    energy: dict[str, float]
    measured: int
    refused: int
    commit: str
    chat_efficacy: float | None = None
    chat_efficacy_accuracy: float | None = None
    machine: str = ""
    command: str = ""

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read one of the objects that ``rows_to_json`` wrote."""
        return cls(**record)


def rows_to_json(rows: Sequence[Row]) -> str:
    """A JSON array of rows."""
    return json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False) + "\n"


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if isfinite(value) else None
