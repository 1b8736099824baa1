"""The table of the queue's state."""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class QueueState(Base):
    """Whether edits are executed, and how executing them went; one row for ever."""

    __tablename__ = "queue_state"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: since when no edit is begun; None while edits are executed
    paused_at: Mapped[datetime | None] = mapped_column(default=None)
    paused_by: Mapped[str | None] = mapped_column(default=None)
    #: why, in the operator's words; gone once it is resumed
    reason: Mapped[str | None] = mapped_column(default=None)
    #: how many processes died one after another with edits in hand
    deaths: Mapped[int] = mapped_column(default=0)
