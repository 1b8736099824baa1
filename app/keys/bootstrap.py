"""Keys without a server: straight on the database, for the first one and for emergencies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.clock import utc_now
from app.data_directory import guard_data_dir
from app.database.database import Database
from app.database.migration import upgrade
from app.keys import doorkeeper, repository, service
from app.keys.schemas import CreatedKey, KeyResource
from app.keys.service import NewKey
from app.settings import Settings

# Whoever may run a command on the data directory; the ledger knows no more of them.
_ACTOR = "cli"


def check_guarded(settings: Settings) -> None:
    """Let a server with these settings start, before anything slow is begun.

    Raises:
        Unguarded: Others could reach it, and there is no live key.
        DatabaseUnavailable: The database cannot be reached.
    """
    if not settings.is_on_loopback:
        with _database(settings) as database:
            doorkeeper.check_guarded(settings, database, utc_now())


def create_key(settings: Settings, new: NewKey) -> CreatedKey:
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


def revoke_key(settings: Settings, key_id: str) -> KeyResource:
    """Have a key count no longer; running servers know it at their next request.

    Raises:
        UnknownKey: There is none with this id.
        DatabaseUnavailable: The database cannot be reached.
    """
    with _database(settings) as database, database.write() as session:
        return KeyResource.of(service.revoke(session, key_id, actor=_ACTOR, now=utc_now()))


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    guard_data_dir(settings.data_dir)
    database = Database(settings.database_url)
    try:
        upgrade(database)
        yield database
    finally:
        database.close()
