"""What is asked of the model's history, and what it answers."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.database.tables.revisions import RevisionKind
from app.facts.revision_report import LayerDrift
from app.kit.fields import MAX_INTEGER
from app.query.schemas import ProbeScore

_DIGITS = len(str(MAX_INTEGER))


def _revision_in_query(value: object) -> object:
    if value == "head" or type(value) is int:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS:
        number = int(value)
        if number <= MAX_INTEGER:
            return number
    raise ValueError(f"must be 'head' or a number from 0 to {MAX_INTEGER}")


_Named = Annotated[int | Literal["head"], BeforeValidator(_revision_in_query)]
FromQuery = Annotated[_Named, Query(alias="from", description="A revision's number, or `head`.")]
ToQuery = Annotated[_Named, Query(alias="to", description="A revision's number, or `head`.")]
MaxFacts = Annotated[int, Query(ge=0, le=1000, description="Most facts listed of each kind.")]
MaxProbes = Annotated[int, Query(ge=0, le=64, description="Most targets probed.")]
MaxRevisions = Annotated[int, Query(ge=1, le=1000)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Fact(_Shape):
    """A fact that one of two revisions holds; its words are None once they were erased."""

    edit: str
    seq: int
    subject: str | None
    prompt: str | None
    target: str | None


class SupersededFact(_Shape):
    """A fact that both revisions hold, by different edits."""

    before: Fact
    after: Fact


class FactCounts(_Shape):
    """How many facts differ, whether or not they are listed."""

    added: int
    removed: int
    superseded: int
    resolved: int = 0
    """Of the facts that both hold by the same edit: how many of these have other factors."""


class LayerDifference(_Shape):
    """How far one edited matrix is from itself."""

    layer: int
    delta_norm: float
    """Frobenius norm of the difference, from the factors of the edits that differ."""
    energy_from: float | None
    """Hyperspherical energy, relative to random neurons; None if it is no number."""
    energy_to: float | None


class ProbedFact(_Shape):
    """The target of an edit under both revisions."""

    edit: str
    prompt: str
    target: str
    from_: Annotated[ProbeScore, Field(alias="from")]
    to: ProbeScore


class Difference(_Shape):
    """What separates two revisions."""

    from_: Annotated[int, Field(alias="from")]
    to: int
    same_weights: bool
    """Whether both have the same edited matrices, bit for bit."""
    counts: FactCounts
    added: list[Fact]
    removed: list[Fact]
    superseded: list[SupersededFact]
    facts_cut: bool
    """Whether more facts differ than are listed."""
    layers: list[LayerDifference]
    probes: list[ProbedFact]
    probes_cut: bool
    """Whether more facts differ than were probed; erased ones cannot be."""


class RevisionDrift(_Shape):
    """Where one revision has got to; None for what is no number."""

    revision: int
    kind: RevisionKind
    created_at: datetime
    live_edits: int
    perplexity: float | None
    perplexity_tokens: int
    """How much of the reference text was read."""
    layers: list[LayerDrift]


class DriftPage(_Shape):
    """Some revisions, oldest first."""

    items: list[RevisionDrift]
    next: Annotated[int | None, Field(description="Pass it as `from`; null at the end.")]
