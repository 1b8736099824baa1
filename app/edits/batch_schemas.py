"""Batches over HTTP."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit
from app.edits.schemas import EditRequest, EditResource
from app.kit.paging import PAGE_BYTES, fitting, json_size

MAX_EDITS = 1000
_ANSWER_BYTES = 4 * PAGE_BYTES  # a thousand edits of ordinary size, with their reports


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
    next: Annotated[
        int | None,
        Field(description="Pass it as `after` for the edits left out of a large answer, or null."),
    ]

    @classmethod
    def of(cls, batch: EditBatch, edits: Iterable[Edit]) -> "EditBatchResource":
        """The batch as the API shows it, with as many of these edits as fit into an answer."""
        shown = (EditResource.of(edit) for edit in edits)
        page, is_cut = fitting(shown, json_size, most=_ANSWER_BYTES)
        return cls(
            id=batch.id,
            atomic=batch.atomic,
            created_at=batch.created_at,
            edits=page,
            next=page[-1].seq if is_cut else None,
        )
