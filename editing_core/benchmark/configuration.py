"""What a benchmark measures: everything its numbers depend on, in one record."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from editing_core.benchmark.record import Record


@dataclass(frozen=True)
class Configuration:
    """The configuration of a benchmark, the same for all its methods.

    Attributes:
        data_digest: SHA-256 of the data file.
        form: A name of ``FORMATS``.
        edits: How many of its records are edited, in the order of the file.
        batch_size: Edits solved together.
        evaluate_every: Measure whenever as many further edits were made, and at the end.
        limit_evaluation: Most records measured before the end; None for all edited so far.
        seed: Chooses the records that are measured where not all are.
        model: Name of the base model.
        model_digest: Its weights.
        recipe_digest: The recipe edits are solved by.
        reference_digest: SHA-256 of the text perplexity is measured on.
    """

    data_digest: str
    form: str
    edits: int
    batch_size: int
    evaluate_every: int
    limit_evaluation: int | None
    seed: int
    model: str
    model_digest: str
    recipe_digest: str
    reference_digest: str

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))

    def differences(self, other: "Configuration") -> dict[str, tuple[Any, Any]]:
        """Fields in which the two differ, with the value of each."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def measured_after(self, before: int, now: int) -> bool:
        """Whether a measurement is due when ``before`` edits became ``now``."""
        return now == self.edits or now // self.evaluate_every > before // self.evaluate_every

    def sample(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Those of the records edited so far that are measured, in their order."""
        limit = self.limit_evaluation
        if limit is None or len(records) <= limit or len(records) == self.edits:
            return records
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(records), generator=generator)[:limit].sort().values
        return tuple(records[index] for index in chosen.tolist())
