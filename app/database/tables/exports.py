"""The table of exports: revisions made into files for others to load."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base, one_of


class ExportFormat(StrEnum):
    """What a revision is made into."""

    #: a model folder that `from_pretrained` opens
    MERGED = "merged"
    #: an adapter that PEFT loads
    LORA = "lora"
    #: the exact factors of its live edits
    DELTA = "delta"


class ExportStatus(StrEnum):
    """Where an export is on its way."""

    ACCEPTED = "accepted"
    #: a process writes it; after that process has died, it is begun again
    RUNNING = "running"
    #: its file can be downloaded
    FINISHED = "finished"
    #: there is no file, for the reason given
    FAILED = "failed"


class Export(Base):
    """One revision in one format, and what became of it."""

    __tablename__ = "exports"

    #: the order in which they were asked for
    number: Mapped[int] = mapped_column(primary_key=True, init=False)
    id: Mapped[str] = mapped_column(unique=True)
    format: Mapped[ExportFormat] = mapped_column(one_of(ExportFormat, "format"))
    revision: Mapped[int] = mapped_column(ForeignKey("revisions.number"))
    #: the most singular values of each matrix that an adapter keeps
    max_rank: Mapped[int | None]
    status: Mapped[ExportStatus] = mapped_column(one_of(ExportStatus, "status"), index=True)
    actor: Mapped[str]
    created_at: Mapped[datetime]
    #: the ledger entry of its acceptance
    ledger_index: Mapped[int] = mapped_column(ForeignKey("ledger_entries.index"))
    #: how much of it is done, 0 to 1
    progress: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    #: who writes it
    process: Mapped[str | None] = mapped_column(default=None)
    #: grows while that process lives
    beat: Mapped[int] = mapped_column(default=0)
    #: of its file, in bytes
    size: Mapped[int | None] = mapped_column(BigInteger, default=None)
    #: SHA-256 of its file
    digest: Mapped[str | None] = mapped_column(default=None)
    reason: Mapped[str | None] = mapped_column(default=None)
    #: what whoever loads it should know
    warnings: Mapped[list[str]] = mapped_column(default_factory=list)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
