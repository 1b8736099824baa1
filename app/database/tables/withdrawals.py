"""The table of withdrawals: revisions that are neither served nor handed out any more."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base, one_of


class Why(StrEnum):
    """Why revisions are withdrawn: a code, since the ledger never forgets a sentence."""

    #: the words of an edit were erased, and the weights must not tell them either
    ERASURE = "erasure"
    #: a court or an authority wants it
    LEGAL = "legal"
    #: what the revisions say does harm
    HARM = "harm"


class Withdrawal(Base):
    """Neighbouring revisions that hold an edit, withdrawn for ever; triggers refuse any change."""

    __tablename__ = "withdrawals"
    __table_args__ = (
        CheckConstraint("first > 0 AND first <= last", name="order"),
        Index("ix_withdrawals_last", "last"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    #: the edit that they hold
    edit_id: Mapped[str] = mapped_column(ForeignKey("edits.id"), index=True)
    first: Mapped[int] = mapped_column(ForeignKey("revisions.number"))
    last: Mapped[int] = mapped_column(ForeignKey("revisions.number"))
    why: Mapped[Why] = mapped_column(one_of(Why, "why"))
    withdrawn_at: Mapped[datetime]
    ledger_index: Mapped[int] = mapped_column(ForeignKey("ledger_entries.index"))
