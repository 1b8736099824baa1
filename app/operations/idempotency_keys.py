"""Finding and storing idempotency keys. Every function works inside the caller's transaction."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.database.tables.idempotency import IdempotencyKey

_SWEPT = 1_000  # at a time, so that no transaction is long


def find(
    session: Session, actor: str, route: str, key: str, *, since: datetime
) -> IdempotencyKey | None:
    """What a caller's key stands for on a route, unless that was before `since`."""
    found = session.get(IdempotencyKey, (actor, route, key))
    return None if found is None or found.created_at < since else found


def store(session: Session, key: IdempotencyKey) -> None:
    """Store a key, in place of an expired one."""
    session.merge(key)
    session.flush()


def sweep(session: Session, *, before: datetime) -> None:
    """Remove keys that expired before a moment, the oldest first and a bounded number of them."""
    expired = IdempotencyKey.created_at < before
    oldest = select(IdempotencyKey.created_at).where(expired).order_by(IdempotencyKey.created_at)
    beyond = session.scalar(oldest.offset(_SWEPT).limit(1))
    swept = expired if beyond is None else IdempotencyKey.created_at < beyond
    session.execute(delete(IdempotencyKey).where(swept))


def forget(session: Session, resources: Collection[str]) -> None:
    """Remove what the keys of these resources tell of requests; they still make no second one.

    What is left of a request is a key that no body matches.
    """
    wanted = IdempotencyKey.resource.in_(resources)
    session.execute(update(IdempotencyKey).where(wanted).values(body_digest=""))
