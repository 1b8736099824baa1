"""The table of events: each status an edit ever had, in the order in which they came about."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, one_of
from app.edits.models import EditStatus


class EditEvent(Base):
    """One change of an edit's status, written in the transaction that made it."""

    __tablename__ = "events"

    #: ascending in the order of commits, since writers are one after another; may have gaps
    number: Mapped[int] = mapped_column(primary_key=True, init=False)
    edit_id: Mapped[str] = mapped_column(ForeignKey("edits.id"), index=True)
    status: Mapped[EditStatus] = mapped_column(one_of(EditStatus, "status"))
    at: Mapped[datetime]
    #: the revision that came with it
    revision: Mapped[int | None] = mapped_column(ForeignKey("revisions.number"), default=None)
    #: why it ended without a revision, as a code
    reason: Mapped[str | None] = mapped_column(default=None)
