"""The table of API keys; a row stays when its key no longer counts."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class ApiKey(Base):
    """A key somebody was given, as far as the service remembers it."""

    __tablename__ = "api_keys"

    #: the part of the key that is no secret
    id: Mapped[str] = mapped_column(primary_key=True)
    #: HMAC-SHA256 of the key under the server's pepper
    digest: Mapped[str]
    name: Mapped[str | None]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    #: HMAC-SHA256, under the same pepper, of all that decides what the key allows
    seal: Mapped[str]
    #: the ledger entry of its making, which is also the order keys are listed in
    ledger_index: Mapped[int] = mapped_column(ForeignKey("ledger_entries.index"), unique=True)
    #: to the minute, and less exactly if the database was away
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    revocation_index: Mapped[int | None] = mapped_column(
        ForeignKey("ledger_entries.index"), default=None
    )
