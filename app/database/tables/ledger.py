"""The table of ledger entries; triggers refuse every UPDATE and DELETE on it."""

from enum import StrEnum

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base, one_of


class EntryKind(StrEnum):
    """What a ledger entry records."""

    #: the model, recipe and weights everything starts from
    BASE = "base"
    #: an operation was accepted
    OPERATION = "operation"
    #: a revision was committed
    REVISION = "revision"
    #: an operation ended without a revision
    VERDICT = "verdict"
    #: a revision was given a label, or lost it
    SNAPSHOT = "snapshot"
    #: the words of an edit were removed
    ERASURE = "erasure"
    #: the revisions that hold an edit are neither served nor handed out any more
    WITHDRAWAL = "withdrawal"
    #: an API key was made or revoked
    KEY = "key"
    #: a revision was asked for as files, was made into them, or they were removed
    EXPORT = "export"
    #: the queue was paused or resumed, or much of it was cancelled at once
    QUEUE = "queue"
    #: from here on, revisions are computed by another recipe
    RECIPE = "recipe"
    #: an older state of the database was accepted in the place of a newer one
    SETBACK = "setback"


class LedgerEntry(Base):
    """One link of the chain: `hash` covers everything else in it, `prev_hash` the link before."""

    __tablename__ = "ledger_entries"
    # Every request asks whether its key was revoked; only entries about keys are in the index.
    __table_args__ = (
        Index(
            "ix_ledger_entries_key_payload",
            "payload",
            sqlite_where=text("kind = 'key'"),
            postgresql_where=text("kind = 'key'"),
        ),
    )

    #: gap-free from 0
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[EntryKind] = mapped_column(one_of(EntryKind, "kind"))
    #: canonical JSON (RFC 8785)
    payload: Mapped[str]
    actor: Mapped[str]
    #: RFC 3339, as text, so that it is hashed exactly as it is kept
    at: Mapped[str]
    prev_hash: Mapped[str]
    hash: Mapped[str]
