"""Events as the API shows them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from app.edits.models import EditStatus
from app.events.models import EditEvent


class TicketResource(BaseModel):
    """What opens a stream of events in a browser."""

    model_config = ConfigDict(extra="forbid")

    ticket: str
    expires_at: datetime | None
    """Null where no key is needed, and no ticket."""


class EventResource(BaseModel):
    """An edit has another status now; what the edit says is not in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    edit: str
    status: EditStatus
    at: datetime
    revision: int | None
    reason: str | None

    @classmethod
    def of(cls, event: EditEvent) -> "EventResource":
        """The event as the API shows it."""
        return cls(
            number=event.number,
            edit=event.edit_id,
            status=event.status,
            at=event.at,
            revision=event.revision,
            reason=event.reason,
        )
