"""Erasures over HTTP."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.database.tables.erasures import Erasure


class ErasureState(StrEnum):
    """How far an erasure has come."""

    #: the words are in no table, but a reader keeps them in the database's files
    PENDING = "pending"
    #: they have left the files, too
    DONE = "done"


class ErasureResource(BaseModel):
    """What became of words that were to be erased."""

    model_config = ConfigDict(extra="forbid")

    state: ErasureState
    begun_at: Annotated[datetime, Field(description="When they were removed from the tables.")]
    done_at: Annotated[datetime | None, Field(description="When they had left the files, too.")]

    @classmethod
    def of(cls, erasure: Erasure | None) -> Self | None:
        """The erasure as the API shows it; None where nothing was erased."""
        if erasure is None:
            return None
        done = erasure.done_at is not None
        return cls(
            state=ErasureState.DONE if done else ErasureState.PENDING,
            begun_at=erasure.begun_at,
            done_at=erasure.done_at,
        )


class EraseRequest(BaseModel):
    """What else is to happen when the words of an edit are erased."""

    model_config = ConfigDict(extra="forbid")

    withdraw: Annotated[
        StrictBool,
        Field(description="Also withdraw every revision that holds the edit, for ever."),
    ] = False
