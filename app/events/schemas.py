"""Events as the API shows them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from app.database.tables.edits import EditStatus
from app.database.tables.events import Event
from app.database.tables.operations import OperationKind


class TicketResource(BaseModel):
    """What opens a stream of events in a browser."""

    model_config = ConfigDict(extra="forbid")

    ticket: str
    expires_at: datetime | None
    """Null where no key is needed, and no ticket."""


class EventResource(BaseModel):
    """An operation, or the edit that it is, has another status now.

    What an edit or a reason says is not in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    kind: OperationKind
    operation: str
    edit: str | None
    """The same id where it is an edit; null for a revert or a rollback."""
    status: EditStatus
    at: datetime
    revision: int | None
    reason: str | None

    @classmethod
    def of(cls, event: Event) -> "EventResource":
        """The event as the API shows it."""
        operation = event.operation
        return cls(
            number=event.number,
            kind=operation.kind,
            operation=operation.id,
            edit=operation.id if operation.kind is OperationKind.EDIT else None,
            status=event.status,
            at=event.at,
            revision=event.revision,
            reason=event.reason,
        )
