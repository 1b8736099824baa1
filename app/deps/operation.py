"""Operations over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.deps.erasure import ErasureResource
from app.facts.revert_report import RevertReport


class OperationResource(BaseModel):
    """An operation and how it ended."""

    model_config = ConfigDict(extra="forbid")

    id: str
    seq: int
    kind: OperationKind
    status: OperationStatus
    attempts: int
    actor: str
    reason: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    revision: int | None
    to_revision: int | None
    target_edit: str | None
    force: bool | None
    restore: bool | None
    dry_run: bool | None
    report: Annotated[
        RevertReport | None, Field(description="What a revert changes, once it was measured.")
    ]
    if_head: Annotated[
        int | None, Field(description="Executed only while this revision is the head.")
    ]
    erased_at: Annotated[
        datetime | None, Field(description="When its reason had left the database.")
    ]
    erasure: ErasureResource | None

    @classmethod
    def of(cls, operation: Operation) -> "OperationResource":
        """The operation as the API shows it."""
        erasure, revert = ErasureResource.of(operation.erasure), operation.revert
        measured = None if revert is None else revert.report
        return cls(
            id=operation.id,
            seq=operation.seq,
            kind=operation.kind,
            status=operation.status,
            attempts=operation.attempts,
            actor=operation.actor,
            reason=operation.reason,
            created_at=operation.created_at,
            started_at=operation.started_at,
            finished_at=operation.finished_at,
            revision=operation.revision,
            to_revision=operation.to_revision,
            target_edit=operation.target_edit,
            force=None if revert is None else revert.force,
            restore=None if revert is None else revert.restore,
            dry_run=None if revert is None else revert.dry_run,
            report=None if measured is None else RevertReport.model_validate(measured),
            if_head=operation.if_head,
            erased_at=None if erasure is None else erasure.done_at,
            erasure=erasure,
        )
