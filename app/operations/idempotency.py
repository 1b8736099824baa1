"""`Idempotency-Key`: the same caller's same key and body always give the same thing."""

import hashlib
from datetime import datetime

from sqlalchemy.orm import Session

from app.errors import IdempotencyMismatch
from app.ledger.chain import canonical
from app.operations.models import IdempotencyKey


def body_digest(document: object) -> str:
    """SHA-256 of what was asked for; numbers with a fraction must come as strings."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def recall(session: Session, actor: str, key: str | None, digest: str) -> str | None:
    """The operation that this caller's key already stands for.

    Raises:
        IdempotencyMismatch: It was used with another body.
    """
    known = None if key is None else session.get(IdempotencyKey, (actor, key))
    if known is None:
        return None
    if known.body_digest != digest:
        raise IdempotencyMismatch
    return known.operation_id


def keep(
    session: Session, actor: str, key: str | None, digest: str, operation_id: str, *, now: datetime
) -> None:
    """Let a caller's key stand for an operation just accepted; for a batch, its first."""
    if key is not None:
        session.add(
            IdempotencyKey(
                actor=actor,
                key=key,
                body_digest=digest,
                operation_id=operation_id,
                created_at=now,
            )
        )
