"""The queue over HTTP."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from app.database.tables.operations import OperationKind
from app.kit.fields import Phrase
from app.kit.moment import Moment

_MAX_LABELS = 16


class Counts(BaseModel):
    """How many operations of each kind."""

    model_config = ConfigDict(extra="forbid")

    edits: int = 0
    reverts: int = 0
    rollbacks: int = 0

    @classmethod
    def of(cls, found: dict[OperationKind, int]) -> Self:
        """The counts as the API shows them."""
        return cls(
            edits=found.get(OperationKind.EDIT, 0),
            reverts=found.get(OperationKind.REVERT, 0),
            rollbacks=found.get(OperationKind.ROLLBACK, 0),
        )


class QueueResource(BaseModel):
    """Whether edits are executed, and how much waits."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[
        Literal["running", "paused"],
        Field(description="Paused: no edit is begun; reverts and rollbacks are executed."),
    ]
    paused_at: datetime | None
    paused_by: str | None
    reason: str | None
    waiting: Counts
    in_hand: Annotated[Counts, Field(description="What the worker executes now.")]


class PauseRequest(BaseModel):
    """Begin no more edits."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        Phrase | None, Field(description="Why; shown while it is paused, and then removed.")
    ] = None


class CancelRequest(BaseModel):
    """Cancel the edits that wait and match everything that is given."""

    model_config = ConfigDict(extra="forbid")

    actor: Annotated[
        Phrase | None, Field(description="Who posted them, as in `actor`: key:ID.")
    ] = None
    subject: Annotated[Phrase | None, Field(description="In any of its spellings.")] = None
    batch: Annotated[Phrase | None, Field(description="The batch they came in.")] = None
    method: Phrase | None = None
    metadata: Annotated[
        dict[Phrase, Phrase],
        Field(max_length=_MAX_LABELS, description="Labels that they all have."),
    ] = {}
    created_after: Annotated[Moment | None, Field(description="Posted later than this.")] = None
    created_before: Annotated[Moment | None, Field(description="Posted earlier than this.")] = None
    all: Annotated[
        StrictBool, Field(description="Every edit that waits; needed where nothing else is given.")
    ] = False
    dry_run: Annotated[StrictBool, Field(description="Only count them.")] = False

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if not self.all and not self.model_dump(exclude={"all", "dry_run"}, exclude_defaults=True):
            raise ValueError(
                "would cancel every edit that waits: give actor, subject, batch, method, metadata, "
                "created_after or created_before, or all: true"
            )
        return self


class Cancelled(BaseModel):
    """How many edits were cancelled."""

    model_config = ConfigDict(extra="forbid")

    cancelled: Annotated[
        int, Field(description="With the rest of their atomic batches; or would be, in a dry run.")
    ]
