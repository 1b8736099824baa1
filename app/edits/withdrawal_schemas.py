"""Withdrawals over HTTP."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.database.tables.withdrawals import Why


class WithdrawRequest(BaseModel):
    """Serve no revision again that holds the edit."""

    model_config = ConfigDict(extra="forbid")

    why: Annotated[Why, Field(description="What the ledger says of it.")]


class WithdrawnRevisions(BaseModel):
    """Neighbouring revisions that were withdrawn, both ends among them."""

    model_config = ConfigDict(extra="forbid")

    first: int
    last: int
    why: Why
