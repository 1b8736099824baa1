"""The table of edit batches: edits that were sent together."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class EditBatch(Base):
    """Edits sent in one request; `edits.batch_id` says which."""

    __tablename__ = "edit_batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: all are committed, as one revision, or none is
    atomic: Mapped[bool]
    created_at: Mapped[datetime]
