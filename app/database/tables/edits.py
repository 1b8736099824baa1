"""The tables of edits: what the worker needs for ever, and the text that may be erased."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database.tables.base import Base, one_of
from app.database.tables.operations import Operation
from app.database.tables.withdrawals import Withdrawal
from app.kit.canonical import JsonObject


class EditStatus(StrEnum):
    """What a client sees: the operation's status, and later what became of a committed edit."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    COMMITTED = "committed"
    REJECTED = "rejected"
    DEAD = "dead"
    CANCELLED = "cancelled"
    #: a dry run that passed every gate
    TRIED = "tried"
    #: committed, but head no longer holds it
    REVERTED = "reverted"
    #: committed, but a later edit of the same fact took its place
    SUPERSEDED = "superseded"


class Edit(Base):
    """An edit request and its outcome; shares its id with its operation."""

    __tablename__ = "edits"

    id: Mapped[str] = mapped_column(ForeignKey("operations.id"), primary_key=True)
    method: Mapped[str]
    #: solve even where the model already says the target
    force: Mapped[bool]
    status: Mapped[EditStatus] = mapped_column(one_of(EditStatus, "status"), index=True)
    #: salted SHA-256 of the text; stays when the text is erased
    text_digest: Mapped[str]
    #: compute, gate and report, but commit nothing
    dry_run: Mapped[bool] = mapped_column(default=False)
    #: limits of its own, stricter than the service's
    gates: Mapped[JsonObject | None] = mapped_column(default=None)
    batch_id: Mapped[str | None] = mapped_column(default=None, index=True)
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("edits.id"), default=None, index=True)
    superseded_by: Mapped[str | None] = mapped_column(ForeignKey("edits.id"), default=None)
    report: Mapped[JsonObject | None] = mapped_column(default=None)
    #: when its words were removed from the tables; `erasure` tells whether the files have them
    erased_at: Mapped[datetime | None] = mapped_column(default=None)

    operation: Mapped[Operation] = relationship(
        init=False, repr=False, lazy="joined", innerjoin=True, foreign_keys=[id], viewonly=True
    )
    text: Mapped["StoredText | None"] = relationship(
        init=False, repr=False, lazy="joined", viewonly=True
    )
    withdrawals: Mapped[list[Withdrawal]] = relationship(
        init=False, repr=False, viewonly=True, order_by=Withdrawal.first
    )


class StoredText(Base):
    """The words of an edit, apart from the rest so that they can be erased."""

    __tablename__ = "edit_texts"
    __table_args__ = (
        Index("ix_edit_texts_subject_digest", "subject_digest"),
        Index("ix_edit_texts_fact_digest", "fact_digest"),
        Index("ix_edit_texts_look_digest", "look_digest"),
    )

    edit_id: Mapped[str] = mapped_column(ForeignKey("edits.id"), primary_key=True)
    #: 32 hex digits, so that nobody can guess the text from its digest
    salt: Mapped[str]
    #: what `app.facts.text.EditText` holds, as JSON
    content: Mapped[JsonObject]
    #: SHA-256 of the subject, the same for all its spellings
    subject_digest: Mapped[str]
    #: SHA-256 of subject and prompt, the same for all their spellings
    fact_digest: Mapped[str]
    #: SHA-256 of what the subject looks like
    look_digest: Mapped[str]
