"""When each key was last used: noted aside, so that no request waits for it or fails by it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from app.access import repository
from app.database.database import Database
from app.errors import DatabaseUnavailable
from app.kit.logs import get_logger

NOTED_EVERY = timedelta(minutes=1)
_log = get_logger(__name__)


class LastUse:
    """Writes down the use of keys on a thread of its own, at most once a minute each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, datetime] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="last-use")

    def note(self, key_id: str, now: datetime) -> None:
        """A key is being used; returns at once."""
        noted = self._noted.get(key_id)
        if noted is None or now - noted >= NOTED_EVERY:
            self._noted[key_id] = now
            self._thread.submit(self._write, key_id, now)

    def close(self) -> None:
        """Finish what is being written; what waits behind it is dropped."""
        self._thread.shutdown(cancel_futures=True)

    def _write(self, key_id: str, now: datetime) -> None:
        try:
            with self._database.write() as session:
                repository.note_use(session, key_id, now, every=NOTED_EVERY)
        except DatabaseUnavailable as error:
            _log.warning("last_use_not_noted", key_id=key_id, error=str(error))
