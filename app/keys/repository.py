"""Finding and storing API keys. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.errors import UnknownKey
from app.keys.models import ApiKey


def page(session: Session, *, after: int | None, limit: int | None) -> Sequence[ApiKey]:
    """Up to `limit` keys made after the one with this ledger index, oldest first."""
    query = select(ApiKey).order_by(ApiKey.ledger_index).limit(limit)
    if after is not None:
        query = query.where(ApiKey.ledger_index > after)
    return session.scalars(query).all()


def find(session: Session, key_id: str) -> ApiKey | None:
    """The key with this id."""
    return session.get(ApiKey, key_id)


def get(session: Session, key_id: str) -> ApiKey:
    """The key with this id.

    Raises:
        UnknownKey: There is none.
    """
    key = find(session, key_id)
    if key is None:
        raise UnknownKey(key_id)
    return key


def any_made(session: Session) -> bool:
    """Whether a key was ever made, live or not."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def any_live(session: Session, now: datetime) -> bool:
    """Whether there is a key that counts now."""
    lasts = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now)
    query = select(ApiKey.id).where(ApiKey.revoked_at.is_(None), lasts).limit(1)
    return session.scalar(query) is not None


def add(session: Session, key: ApiKey) -> None:
    """Store a new key."""
    session.add(key)
    session.flush()


def note_use(session: Session, key_id: str, now: datetime, *, every: timedelta) -> None:
    """Note that a key was used, unless that was noted less than `every` ago."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - every)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))
