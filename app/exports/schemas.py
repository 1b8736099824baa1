"""Exports over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables.exports import Export, ExportFormat, ExportStatus
from app.kit.fields import MAX_INTEGER


class ExportRequest(BaseModel):
    """Make a revision into files."""

    model_config = ConfigDict(extra="forbid")

    format: ExportFormat
    revision: Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)] | None = Field(
        default=None, description="Its number; null for the head."
    )
    max_rank: Annotated[int, Field(strict=True, ge=1, le=512)] | None = Field(
        default=None,
        description="Only for lora: keep so many singular values of each matrix, the largest.",
    )


class ExportResource(BaseModel):
    """A revision made into files, and how far that is."""

    model_config = ConfigDict(extra="forbid")

    id: str
    format: ExportFormat
    revision: int
    max_rank: int | None
    status: ExportStatus
    progress: Annotated[float, Field(description="How much is done, 0 to 1.")]
    attempts: int
    bytes: int | None
    digest: Annotated[str | None, Field(description="SHA-256 of the file.")]
    reason: Annotated[str | None, Field(description="Why there is no file.")]
    warnings: list[str]
    created_at: datetime
    created_by: Annotated[str, Field(description="Who asked for it, as the ledger names them.")]
    finished_at: datetime | None
    download: Annotated[str | None, Field(description="Where its file is, once it is finished.")]

    @classmethod
    def of(cls, export: Export) -> "ExportResource":
        """The export as the API shows it."""
        finished = export.status is ExportStatus.FINISHED
        return cls(
            id=export.id,
            format=export.format,
            revision=export.revision,
            max_rank=export.max_rank,
            status=export.status,
            progress=export.progress,
            attempts=export.attempts,
            bytes=export.size,
            digest=export.digest,
            reason=export.reason,
            warnings=export.warnings,
            created_at=export.created_at,
            created_by=export.actor,
            finished_at=export.finished_at,
            download=f"/v1/exports/{export.id}/download" if finished else None,
        )


class ExportPage(BaseModel):
    """Some exports, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[ExportResource]
    next: Annotated[int | None, Field(description="Pass it as `after`; null at the end.")]
