"""The table of reverts: how each was asked for, and what it was found to change."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base
from app.kit.canonical import JsonObject


class Revert(Base):
    """What a revert was asked to do and measured; shares its id with its operation."""

    __tablename__ = "reverts"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id"), primary_key=True)
    #: undo the edit even where other facts of its subject are lost, or a gate is failed
    force: Mapped[bool]
    #: let the edit that it superseded be live again
    restore: Mapped[bool]
    #: compute, measure and report, but commit nothing
    dry_run: Mapped[bool]
    #: what `app.facts.revert_report.RevertReport` holds, as JSON
    report: Mapped[JsonObject | None] = mapped_column(default=None)
