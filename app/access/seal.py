"""What decides a key's authority, sealed: who only writes to the database cannot widen it."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from app.access import repository
from app.access.token import Pepper
from app.database.database import Database
from app.database.tables.api_keys import ApiKey
from app.database.tables.ledger import EntryKind
from app.errors import UnusablePepper
from app.kit.canonical import JsonObject, canonical
from app.kit.clock import rfc3339
from app.kit.logs import get_logger
from app.ledger import repository as entries
from app.ledger import service as ledger
from app.settings import Settings

_ACTOR = "upgrade"  # whom the ledger names for what no person asked for
_log = get_logger(__name__)


def making_of(
    key_id: str, scopes: Iterable[str], expires_at: datetime | None, *, sealed: bool = True
) -> JsonObject:
    """What the ledger says of a key that was made, or sealed afterwards."""
    made: JsonObject = {
        "id": key_id,
        "scopes": list(scopes),
        "expires_at": None if expires_at is None else rfc3339(expires_at),
    }
    return made | {"sealed": True} if sealed else made


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
        return key.seal is not None and pepper.same(seal_of(pepper, key), key.seal)
    except (TypeError, ValueError):
        return False


def seal_old_keys(database: Database, settings: Settings, now: datetime) -> None:
    """Seal the keys of a release without seals, once in the life of a database.

    A key is believed if the ledger has an equal entry of its making. Every key that is made or
    sealed says so in the ledger, which is never shortened: from the first of them on nothing is
    believed any more, and a row without a seal opens nothing.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    with database.read() as session:
        if not _unsealed(session):
            return
    try:
        pepper = Pepper.of(settings, make=False)
    except UnusablePepper as error:
        _log.error("keys_not_sealed", error=str(error))
        return
    with database.write() as session:
        for key in _unsealed(session):  # another process may have been first
            _seal(session, key, pepper, now)


def _unsealed(session: Session) -> list[ApiKey]:
    if any('"sealed":true' in payload for payload in entries.key_payloads(session)):
        return []
    return list(repository.unsealed(session))


def _seal(session: Session, key: ApiKey, pepper: Pepper, now: datetime) -> None:
    if not _is_as_made(session, key):
        _log.error("key_tampered", key_id=key.id)
        return
    key.seal = seal_of(pepper, key)
    record = making_of(key.id, key.scopes, key.expires_at)
    ledger.append(session, EntryKind.KEY, record, actor=_ACTOR, now=now)
    _log.info("key_sealed", key_id=key.id)


def _is_as_made(session: Session, key: ApiKey) -> bool:
    made = entries.find(session, key.ledger_index)
    try:
        told = canonical(making_of(key.id, key.scopes, key.expires_at, sealed=False))
    except TypeError:
        return False
    return made is not None and (made.kind, made.payload) == (EntryKind.KEY, told)
