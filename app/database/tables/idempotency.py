"""The table of idempotency keys: requests that may be sent again, and what they became."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables.base import Base


class IdempotencyKey(Base):
    """A key that a caller sent with a request, and what that request made or changed."""

    __tablename__ = "idempotency_keys"

    #: whose key it is: another caller's equal one stands for something else
    actor: Mapped[str] = mapped_column(primary_key=True)
    #: method and path template: each route has keys of its own
    route: Mapped[str] = mapped_column(primary_key=True)
    #: SHA-256 of the key, since a client may have put words into it
    key: Mapped[str] = mapped_column(primary_key=True)
    #: SHA-256 of the canonical JSON of what was asked for; empty once words of it were erased
    body_digest: Mapped[str]
    #: id of what the request made or changed
    resource: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
