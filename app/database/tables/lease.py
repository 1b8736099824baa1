"""The table of the writer's lease."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class WriterLease(Base):
    """Who may write operations' outcomes and revisions; one row for ever."""

    __tablename__ = "writer_lease"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: the process that holds it; none after it was given back
    holder: Mapped[str | None]
    #: grows with every holder: what an earlier one computed can no longer be committed
    fence: Mapped[int]
    #: grows while the holder lives
    beat: Mapped[int]
