"""Questions to several revisions at once, and what they answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.generation.engine import FinishReason
from app.kit.fields import AnyText
from app.query.body import Body
from app.query.schemas import RevisionName
from app.revisions.schemas import RevisionResource

_MAX_REVISIONS = 16
_MAX_EXPECTED = 200

_Text = Annotated[AnyText, Field(min_length=1)]
Outcome = Literal["found", "not_at_start", "still_at_end"]


class CompareRequest(Body):
    """A text to be continued under several revisions."""

    prompt: _Text
    revisions: Annotated[
        list[RevisionName],
        Field(
            min_length=1,
            max_length=_MAX_REVISIONS,
            fail_fast=True,
            default_factory=lambda: [0, "head"],
        ),
    ]
    max_tokens: Annotated[int, Field(ge=1)] = 16


class BisectRequest(Body):
    """An answer that was given once and is not any more."""

    model_config = ConfigDict(populate_by_name=True)

    prompt: _Text
    expect: Annotated[AnyText, Field(min_length=1, max_length=_MAX_EXPECTED, pattern=r"\S")]
    """How the completion began; white space in front of it is ignored."""
    from_: Annotated[RevisionName, Field(alias="from")] = 0
    to: RevisionName = "head"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Continuation(_Answer):
    """What one revision says."""

    revision: int
    text: str
    finish_reason: FinishReason


class Comparison(_Answer):
    """What several revisions say after one text."""

    prompt: str
    revisions: dict[str, Continuation]
    """By the names they were asked for by."""


class Bisection(_Answer):
    """Where a completion ceased to begin with what was expected."""

    outcome: Outcome
    """`not_at_start`: `from` did not say it either. `still_at_end`: `to` says it, too."""
    message: str
    revision: RevisionResource | None
    """The revision that no longer says it, while the one before it that is served does."""
    before: Continuation | None
    """What is said before it; None where `from` itself does not say it."""
    after: Continuation | None
    """What is said since; None where `to` still says it."""
    tried: int
    """How many revisions were asked."""
