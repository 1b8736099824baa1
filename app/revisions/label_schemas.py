"""Snapshots over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables.labels import Snapshot
from app.kit.fields import MAX_INTEGER, SnapshotLabel


class SnapshotRequest(BaseModel):
    """Keep a revision whole, under a label."""

    model_config = ConfigDict(extra="forbid")

    revision: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)] | None = Field(
        default=None, description="Its number; null for the head."
    )
    label: SnapshotLabel


class SnapshotResource(BaseModel):
    """A revision that is kept whole."""

    model_config = ConfigDict(extra="forbid")

    revision: int
    label: Annotated[str | None, Field(description="Null for one the worker took by itself.")]
    automatic: bool
    digest: Annotated[
        str | None,
        Field(description="SHA-256 of its file; null if that was lost. The revision never is."),
    ]
    created_at: datetime
    ledger_index: int | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> "SnapshotResource":
        """The snapshot as the API shows it."""
        return cls(
            revision=snapshot.revision,
            label=snapshot.label,
            automatic=snapshot.automatic,
            digest=snapshot.digest,
            created_at=snapshot.created_at,
            ledger_index=snapshot.ledger_index,
        )


class SnapshotPage(BaseModel):
    """Some snapshots, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[SnapshotResource]
    next: Annotated[int | None, Field(description="Pass it as `after`; null at the end.")]
