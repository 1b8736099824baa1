"""Keys without a server: straight on the database, for the first one and for emergencies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.access import doorkeeper, repository, service
from app.access.service import NewApiKey
from app.database.database import Database
from app.keys.schemas import CreatedKey, KeyResource, RevokedKeyResource
from app.kit.clock import utc_now
from app.ledger.opening import open_database
from app.settings import Settings

# Whoever may run a command on the data directory; the ledger knows no more of them.
_ACTOR = "cli"


def check_start(settings: Settings) -> None:
    """Let a server with these settings start, before anything slow is begun.

    Raises:
        SetBack: The database lacks what was committed here.
        Unguarded: Others could reach it, and there is no live key.
        DatabaseUnavailable: The database cannot be reached.
    """
    with _database(settings) as database:
        doorkeeper.check_guarded(settings, database, utc_now())


def create_key(settings: Settings, new: NewApiKey) -> CreatedKey:
    """Make a key; running servers know it at their next request.

    Raises:
        InvalidField: It would have expired already.
        UnusablePepper: The secret that earlier keys were made with is not there.
        DatabaseUnavailable: The database cannot be reached.
    """
    with _database(settings) as database, database.write() as session:
        key, token = service.create(session, settings, new, actor=_ACTOR, now=utc_now())
        return CreatedKey.made(key, token)


def list_keys(settings: Settings) -> Sequence[KeyResource]:
    """All keys in the order they were made.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    with _database(settings) as database, database.read() as session:
        return [KeyResource.of(key) for key in repository.page(session, after=None, limit=None)]


def revoke_key(
    settings: Settings, key_id: str, *, cancel_queued: bool = False
) -> RevokedKeyResource:
    """Have a key count no longer; running servers know it at their next request.

    Raises:
        UnknownKey: There is none with this id.
        DatabaseUnavailable: The database cannot be reached.
    """
    with _database(settings) as database, database.write() as session:
        revoked = service.revoke(
            session, key_id, actor=_ACTOR, now=utc_now(), cancel_queued=cancel_queued
        )
        return RevokedKeyResource.revoked(revoked.key, len(revoked.cancelled))


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings, utc_now)
    try:
        yield database
    finally:
        database.close()
