"""What decides a key's authority, sealed: who only writes to the database cannot widen it."""

from collections.abc import Iterable
from datetime import datetime

from app.access.token import Pepper
from app.database.tables.api_keys import ApiKey
from app.kit.canonical import JsonObject, canonical
from app.kit.clock import rfc3339


def making_of(key_id: str, scopes: Iterable[str], expires_at: datetime | None) -> JsonObject:
    """What the ledger says of a key that was made."""
    return {
        "id": key_id,
        "scopes": list(scopes),
        "expires_at": None if expires_at is None else rfc3339(expires_at),
    }


def seal_of(pepper: Pepper, key: ApiKey) -> str:
    """The seal that a key has if nothing that it is worth was altered.

    Raises:
        TypeError, ValueError: What is stored is not even what a key could hold.
    """
    covered = making_of(key.id, key.scopes, key.expires_at) | {"digest": key.digest}
    return pepper.seal(canonical(covered))


def is_intact(pepper: Pepper, key: ApiKey) -> bool:
    """Whether a key is worth what it was worth when it was made."""
    try:
        return pepper.same(seal_of(pepper, key), key.seal)
    except (AttributeError, TypeError, ValueError):
        return False
