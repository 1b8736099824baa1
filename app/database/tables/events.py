"""The table of events: each status an operation ever had, in the order in which they came about."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database.tables.base import Base, one_of
from app.database.tables.edits import EditStatus
from app.database.tables.operations import Operation


class Event(Base):
    """One change of an operation's status, written in the transaction that made it.

    An edit goes on after its operation has ended: it is reverted or superseded by others.
    """

    __tablename__ = "events"

    #: ascending in the order of commits, since writers are one after another; may have gaps
    number: Mapped[int] = mapped_column(primary_key=True, init=False)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id"), index=True)
    status: Mapped[EditStatus] = mapped_column(one_of(EditStatus, "status"))
    at: Mapped[datetime]
    #: the revision that came with it
    revision: Mapped[int | None] = mapped_column(ForeignKey("revisions.number"), default=None)
    #: why it ended without a revision, as a code
    reason: Mapped[str | None] = mapped_column(default=None)

    operation: Mapped[Operation] = relationship(
        init=False, repr=False, lazy="joined", innerjoin=True, viewonly=True
    )
