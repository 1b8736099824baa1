"""Batches over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.batches.models import EditBatch
from app.edits.models import Edit
from app.edits.schemas import EditRequest, EditResource

MAX_EDITS = 1000


class EditBatchRequest(BaseModel):
    """Corrections sent together."""

    model_config = ConfigDict(extra="forbid")

    edits: Annotated[
        list[EditRequest],
        Field(
            min_length=1,
            max_length=MAX_EDITS,
            fail_fast=True,
            description="Executed in this order.",
        ),
    ]
    atomic: Annotated[
        StrictBool, Field(description="Commit all of them as one revision, or none.")
    ] = False


class EditBatchResource(BaseModel):
    """A batch and what became of its edits."""

    model_config = ConfigDict(extra="forbid")

    id: str
    atomic: bool
    created_at: datetime
    edits: list[EditResource]

    @classmethod
    def of(cls, batch: EditBatch, edits: Sequence[Edit]) -> "EditBatchResource":
        """The batch as the API shows it."""
        return cls(
            id=batch.id,
            atomic=batch.atomic,
            created_at=batch.created_at,
            edits=[EditResource.of(edit) for edit in edits],
        )
