"""The table of snapshots: revisions that are kept whole, and the labels people gave them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class Snapshot(Base):
    """A label on a revision, or one of the snapshots the worker takes by itself.

    The file is a cache: nothing but time is lost with it. The label is not, so it is in the ledger.
    """

    __tablename__ = "snapshots"
    __table_args__ = (
        CheckConstraint(
            "automatic AND label IS NULL AND ledger_index IS NULL AND digest IS NOT NULL "
            "OR NOT automatic AND label IS NOT NULL AND ledger_index IS NOT NULL",
            name="kind",
        ),
        Index(
            "uq_snapshots_automatic",
            "revision",
            unique=True,
            sqlite_where=text("automatic"),
            postgresql_where=text("automatic"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    revision: Mapped[int] = mapped_column(ForeignKey("revisions.number"), index=True)
    label: Mapped[str | None] = mapped_column(unique=True)
    #: SHA-256 of the stored file; none once a labelled one was found missing or altered
    digest: Mapped[str | None]
    created_at: Mapped[datetime]
    automatic: Mapped[bool]
    ledger_index: Mapped[int | None] = mapped_column(ForeignKey("ledger_entries.index"))
