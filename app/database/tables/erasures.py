"""The table of erasures: whose words were removed, and whether they have left the files, too."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base

_PENDING = text("done_at IS NULL")


class Erasure(Base):
    """The words of one operation, which are in no table any more."""

    __tablename__ = "erasures"
    __table_args__ = (
        Index(
            "ix_erasures_pending",
            "operation_id",
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
    )

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id"), primary_key=True)
    #: when they were removed from the tables
    begun_at: Mapped[datetime]
    #: PostgreSQL's name of the transaction that did it
    mark: Mapped[str | None]
    #: when they were found to have left the files
    done_at: Mapped[datetime | None] = mapped_column(default=None)
