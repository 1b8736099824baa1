"""What the worker executes, in order: the table of operations."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database.tables.base import Base, one_of
from app.database.tables.erasures import Erasure
from app.database.tables.reverts import Revert


class OperationKind(StrEnum):
    """What an operation does to the head."""

    EDIT = "edit"
    #: undo one edit
    REVERT = "revert"
    #: make head equal an old revision
    ROLLBACK = "rollback"


class OperationStatus(StrEnum):
    """Where an operation is on its way."""

    ACCEPTED = "accepted"
    #: claimed by the worker; after a crash it is accepted again
    RUNNING = "running"
    COMMITTED = "committed"
    #: changed nothing, for the reason given
    REJECTED = "rejected"
    #: given up after several attempts, each alone, that ended without a verdict
    DEAD = "dead"
    #: taken back before it ran
    CANCELLED = "cancelled"
    #: a dry run that would have been committed
    TRIED = "tried"


class Operation(Base):
    """One thing the worker is to do; `seq` is its place in the one order of all operations."""

    __tablename__ = "operations"
    __table_args__ = (
        Index("ix_operations_status_seq", "status", "seq"),
        # What is claimed first is found however many edits wait.
        Index(
            "ix_operations_undoing",
            "status",
            "seq",
            sqlite_where=text("kind != 'edit'"),
            postgresql_where=text("kind != 'edit'"),
        ),
        Index("ix_operations_actor_status", "actor", "status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    #: gap-free from 1, over all kinds; what is queued again moves to the end and leaves its place
    seq: Mapped[int] = mapped_column(unique=True)
    kind: Mapped[OperationKind] = mapped_column(one_of(OperationKind, "kind"))
    status: Mapped[OperationStatus] = mapped_column(one_of(OperationStatus, "status"))
    created_at: Mapped[datetime]
    actor: Mapped[str]
    #: the newest ledger entry about this operation
    ledger_index: Mapped[int] = mapped_column(ForeignKey("ledger_entries.index"))
    #: what the client gave (revert, rollback), or why it was rejected, given up or cancelled
    reason: Mapped[str | None] = mapped_column(default=None)
    #: executions that were begun, without those that ended for no fault of its own
    attempts: Mapped[int] = mapped_column(default=0)
    #: whether it is executed alone, since it was in hand when an execution crashed
    alone: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime | None] = mapped_column(default=None)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    #: the revision it produced
    revision: Mapped[int | None] = mapped_column(ForeignKey("revisions.number"), default=None)
    #: rollback: the revision head is to equal
    to_revision: Mapped[int | None] = mapped_column(ForeignKey("revisions.number"), default=None)
    #: revert: the edit to undo, which shares its id with its operation
    target_edit: Mapped[str | None] = mapped_column(ForeignKey("operations.id"), default=None)

    #: revert, rollback: the head that its client had seen, on top of which alone it is executed
    if_head: Mapped[int | None] = mapped_column(default=None)

    erasure: Mapped[Erasure | None] = relationship(
        init=False, repr=False, lazy="joined", viewonly=True
    )
    #: how a revert was asked for, and what it changes
    revert: Mapped[Revert | None] = relationship(init=False, repr=False, viewonly=True)
