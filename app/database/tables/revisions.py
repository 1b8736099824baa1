"""The tables of revisions: the linear history of the edited model."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base, one_of
from app.kit.canonical import JsonObject


class RevisionKind(StrEnum):
    """What made a revision."""

    BASE = "base"
    EDIT = "edit"
    REVERT = "revert"
    ROLLBACK = "rollback"


class Revision(Base):
    """A numbered state of the edited model; its parent is the number before it."""

    __tablename__ = "revisions"
    __table_args__ = (
        CheckConstraint("number = 0 AND parent IS NULL OR parent = number - 1", name="linear"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: unique, so that a second writer fails
    parent: Mapped[int | None] = mapped_column(ForeignKey("revisions.number"), unique=True)
    kind: Mapped[RevisionKind] = mapped_column(one_of(RevisionKind, "kind"))
    #: the newest operation that went into it; no foreign key, as operations point back here
    operation: Mapped[str | None]
    #: SHA-256 of the edited matrices
    weights_digest: Mapped[str]
    #: the factors that are new in it
    artefact_digest: Mapped[str | None]
    #: how many edits are live in it
    live_edits: Mapped[int]
    created_at: Mapped[datetime]
    ledger_index: Mapped[int] = mapped_column(ForeignKey("ledger_entries.index"), unique=True)
    #: what was measured of it when it was made
    report: Mapped[JsonObject]


class RevisionChange(Base):
    """An edit that became live in a revision (+1), ceased to be (-1), or has other factors (0)."""

    __tablename__ = "revision_changes"
    __table_args__ = (CheckConstraint("change IN (-1, 0, 1)", name="change"),)

    revision: Mapped[int] = mapped_column(ForeignKey("revisions.number"), primary_key=True)
    edit_id: Mapped[str] = mapped_column(ForeignKey("edits.id"), primary_key=True, index=True)
    change: Mapped[int]
    #: digest of the artefact with the factors it has from here on, unless it ceased to be live
    artefact: Mapped[str | None] = mapped_column(default=None)
    #: which of that artefact's factor pairs are its own
    artefact_index: Mapped[int | None] = mapped_column(default=None)
