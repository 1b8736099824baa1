"""Reverts over HTTP."""

from typing import Annotated

from pydantic import Field, StrictBool

from app.revisions.schemas import ReasonRequest


class RevertRequest(ReasonRequest):
    """How one edit is to be undone."""

    force: Annotated[
        StrictBool,
        Field(description="Undo it even where other facts of its subject would be lost."),
    ] = False
    restore: Annotated[
        StrictBool, Field(description="Let the edit that it superseded be live again.")
    ] = True
