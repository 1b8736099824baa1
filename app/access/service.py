"""Making and revoking API keys; both are in the ledger, because auditors ask who did.

An entry holds id, scopes and end, but not the name: a name may be a person's, and the ledger never
forgets.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.access import repository
from app.access.scopes import Scope, actor_of
from app.access.seal import making_of, seal_of
from app.access.token import Pepper, Token
from app.database.tables.api_keys import ApiKey
from app.database.tables.ledger import EntryKind
from app.database.tables.operations import Operation
from app.errors import InvalidField
from app.kit.clock import rfc3339
from app.ledger import service as ledger
from app.operations.lifecycle import cancel_all_of
from app.settings import Settings


@dataclass(frozen=True)
class NewApiKey:
    """What a key is asked for.

    Attributes:
        scopes: What it shall allow.
        name: What people call it.
        expires_at: From when on it no longer counts; None for never.
    """

    scopes: Collection[Scope]
    name: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class RevokedApiKey:
    """A revoked key, and its operations that were cancelled with it."""

    key: ApiKey
    cancelled: Sequence[Operation]


def create(
    session: Session, settings: Settings, new: NewApiKey, *, actor: str, now: datetime
) -> tuple[ApiKey, Token]:
    """Make a key; only the token that is returned holds its secret.

    Raises:
        InvalidField: It would have expired already.
        UnusablePepper: The secret that earlier keys were made with is not there.
    """
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidField("expires_at", f"lies in the past; it is {rfc3339(now)} now")
    pepper = Pepper.of(settings, make=not repository.any_made(session))
    token = Token.draw()
    scopes = [scope.value for scope in Scope if scope in new.scopes]
    entry = ledger.append(
        session,
        EntryKind.KEY,
        making_of(token.kid, scopes, new.expires_at),
        actor=actor,
        now=now,
    )
    key = ApiKey(
        id=token.kid,
        digest=pepper.digest(token),
        seal="",
        name=new.name,
        scopes=scopes,
        created_at=now,
        expires_at=None if new.expires_at is None else new.expires_at.astimezone(UTC),
        ledger_index=entry.index,
    )
    key.seal = seal_of(pepper, key)
    repository.add(session, key)
    return key, token


def revoke(
    session: Session, key_id: str, *, actor: str, now: datetime, cancel_queued: bool = False
) -> RevokedApiKey:
    """Have a key count no longer, from the next request on; a second time changes nothing.

    Args:
        session: A write transaction.
        key_id: The key.
        actor: Who revokes it.
        now: When.
        cancel_queued: Cancel as well whatever it asked for and no worker has begun.

    Raises:
        UnknownKey: There is none with this id.
    """
    key = repository.get(session, key_id)
    # A row that says so may have been altered; the ledger's entry is what counts for ever.
    if not repository.is_revoked_in_ledger(session, key_id):
        record = repository.revocation_of(key_id)
        entry = ledger.append(session, EntryKind.KEY, record, actor=actor, now=now)
        key.revocation_index = entry.index
    if key.revoked_at is None:
        key.revoked_at = now
    asked_by = actor_of(key_id)
    cancelled = cancel_all_of(session, asked_by, now=now, actor=actor) if cancel_queued else ()
    return RevokedApiKey(key, cancelled)
