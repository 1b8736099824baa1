"""Revisions and rollbacks over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables.revisions import Revision, RevisionKind
from app.kit.fields import MAX_INTEGER, Phrase, SnapshotLabel


class ReasonRequest(BaseModel):
    """Why something is undone."""

    model_config = ConfigDict(extra="forbid")

    reason: Phrase | None = None
    if_head: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=MAX_INTEGER,
            description="Only if this revision is still the head, now and when its turn has come.",
        ),
    ] = None


class RollbackRequest(ReasonRequest):
    """Make head equal an old revision, named by its number or by a label."""

    to_revision: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)] | None = None
    to_label: SnapshotLabel | None = None


class RevisionResource(BaseModel):
    """A numbered state of the edited model."""

    model_config = ConfigDict(extra="forbid")

    number: int
    parent: int | None
    kind: RevisionKind
    operation: str | None
    edits: Annotated[list[str], Field(description="Ids of the edits that became live in it.")]
    removed: Annotated[list[str], Field(description="Ids of the edits that ceased to be live.")]
    resolved: Annotated[
        list[str],
        Field(description="Ids of the edits that stay live with other factors: solved again."),
    ]
    live_edits: int
    weights_digest: str
    artefact_digest: str | None
    created_at: datetime
    ledger_hash: str
    withdrawn_at: Annotated[
        datetime | None, Field(description="Since when it is not given out any more.")
    ]

    @classmethod
    def of(
        cls,
        revision: Revision,
        *,
        edits: list[str],
        removed: list[str],
        resolved: list[str],
        ledger_hash: str,
        withdrawn_at: datetime | None,
    ) -> "RevisionResource":
        """The revision as the API shows it."""
        return cls(
            number=revision.number,
            parent=revision.parent,
            kind=revision.kind,
            operation=revision.operation,
            edits=edits,
            removed=removed,
            resolved=resolved,
            live_edits=revision.live_edits,
            weights_digest=revision.weights_digest,
            artefact_digest=revision.artefact_digest,
            created_at=revision.created_at,
            ledger_hash=ledger_hash,
            withdrawn_at=withdrawn_at,
        )


class RevisionPage(BaseModel):
    """Some revisions, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[RevisionResource]
    next: Annotated[int | None, Field(description="Pass it as `after`; null at the end.")]
