"""Finding and storing API keys. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.database.tables.api_keys import ApiKey
from app.errors import KeyDamaged, UnknownKey
from app.kit.canonical import JsonObject
from app.ledger import repository as ledger

# What reading a column raises that holds what it cannot.
_UNREADABLE = (LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class DamagedApiKey:
    """A key whose row holds what no key could, so that it opens nothing."""

    id: str
    ledger_index: int


def page(
    session: Session, *, after: int | None, limit: int | None
) -> Sequence[ApiKey | DamagedApiKey]:
    """Up to `limit` keys made after the one with this ledger index, oldest first."""
    wanted = ApiKey.ledger_index > (-1 if after is None else after)
    try:
        query = select(ApiKey).where(wanted)
        return session.scalars(query.order_by(ApiKey.ledger_index).limit(limit)).all()
    except _UNREADABLE:
        ids = select(ApiKey.id).where(wanted)
        found = session.scalars(ids.order_by(ApiKey.ledger_index).limit(limit)).all()
        return [shown(session, key_id) for key_id in found]


def shown(session: Session, key_id: str) -> ApiKey | DamagedApiKey:
    """The key with this id, as far as it can be read.

    Raises:
        UnknownKey: There is none.
    """
    try:
        return get(session, key_id)
    except KeyDamaged:
        index = session.scalars(select(ApiKey.ledger_index).where(ApiKey.id == key_id)).one()
        return DamagedApiKey(key_id, index)


def find(session: Session, key_id: str) -> ApiKey | None:
    """The key with this id."""
    return session.get(ApiKey, key_id)


def get(session: Session, key_id: str) -> ApiKey:
    """The key with this id.

    Raises:
        UnknownKey: There is none.
        KeyDamaged: Its row holds what no key could.
    """
    try:
        key = find(session, key_id)
    except _UNREADABLE as error:
        raise KeyDamaged(key_id) from error
    if key is None:
        raise UnknownKey(key_id)
    return key


def any_made(session: Session) -> bool:
    """Whether a key was ever made, live or not; the ledger says so even if its row is gone."""
    return ledger.any_of_keys(session)


def is_revoked(session: Session, key: ApiKey) -> bool:
    """Whether a key was revoked; the ledger says so even if its row does not, or no longer."""
    return key.revoked_at is not None or is_revoked_in_ledger(session, key.id)


def is_revoked_in_ledger(session: Session, key_id: str) -> bool:
    """Whether the ledger says that a key was revoked."""
    return ledger.says_of_key(session, revocation_of(key_id))


def revocation_of(key_id: str) -> JsonObject:
    """What the ledger says of a key that was revoked; it is looked up by the whole of it."""
    return {"id": key_id, "revoked": True}


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
