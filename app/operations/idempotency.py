"""`Idempotency-Key`: the same caller's same key and body always give the same thing."""

import hashlib
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.errors import IdempotencyMismatch
from app.ledger.chain import canonical
from app.operations.models import IdempotencyKey

# A space: no client can send such a key.
_ERASED = "erased "


def body_digest(document: object) -> str:
    """SHA-256 of what was asked for; numbers with a fraction must come as strings."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def recall(session: Session, actor: str, key: str | None, digest: str) -> str | None:
    """The operation that this caller's key already stands for.

    Raises:
        IdempotencyMismatch: It was used with another body.
    """
    if key is None:
        return None
    known = session.get(IdempotencyKey, (actor, key)) or session.get(
        IdempotencyKey, (actor, _erased(key))
    )
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


def forget(session: Session, operations: Select[str]) -> None:
    """Remove what the keys of these operations tell; the same key still makes no second one.

    A client may have put words into its key. What is left is a digest, which no body matches.
    """
    wanted = IdempotencyKey.operation_id.in_(operations)
    for known in session.scalars(select(IdempotencyKey).where(wanted)).all():
        if not known.key.startswith(_ERASED):
            known.key, known.body_digest = _erased(known.key), ""


def _erased(key: str) -> str:
    return _ERASED + hashlib.sha256(key.encode()).hexdigest()
