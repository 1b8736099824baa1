"""Where uses are counted: in this process, or on a Redis that several processes share."""

from contextlib import ExitStack
from threading import Lock

from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage

from app.kit.clock import Clock
from app.kit.logs import get_logger
from app.queue.redis_doorbell import RedisAddress

_MINUTE_S = 60
#: how long a server that hangs may hold up a request, until it is known to hang
_TIMEOUT_S = 0.25
_log = get_logger(__name__)


class Store:
    """Counters that live for a minute of the clock each.

    When the storage fails, nothing is counted before the next minute: a budget is not worth an
    outage, and a server that hangs holds up once a minute those that come before it is known.

    Args:
        storage: Of the library `limits`; it must wrap its exceptions.
        clock: Whose minutes they are.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = Lock()
        self._reachable = True
        self._failed_in: int | None = None

    @property
    def is_counting(self) -> bool:
        """Whether what was used lately could be counted."""
        return self._reachable

    def now(self) -> tuple[int, float]:
        """The number of this minute, and how many seconds of it are left."""
        seconds = self._clock().timestamp()
        minute = int(seconds // _MINUTE_S)
        return minute, (minute + 1) * _MINUTE_S - seconds

    def add(self, key: str, amount: int, *, minute: int) -> int | None:
        """Add to the counter of a minute, or take away from it; None if nothing is counted."""
        this_minute, _ = self.now()
        if this_minute == self._failed_in:
            return None
        try:
            total = self._storage.incr(f"{key}/{minute}", _MINUTE_S, amount)
        except StorageError as error:
            self._note_failure(error, this_minute)
            return None
        self._note_success()
        return total

    def _note_failure(self, error: StorageError, minute: int) -> None:
        with self._lock:
            self._failed_in = minute
            if self._reachable:
                _log.warning("budgets_not_counted", tried_again_after_s=_MINUTE_S, error=str(error))
            self._reachable = False

    def _note_success(self) -> None:
        if self._reachable:
            return
        with self._lock:
            if not self._reachable:
                _log.info("budgets_counted_again")
            self._reachable = True


class _OwnMemory(MemoryStorage):
    # The library's class, called from several threads at once, loses counts and starts its timer
    # twice, which raises (limits 5.8.0).

    def __init__(self) -> None:
        self._turn = Lock()
        super().__init__(wrap_exceptions=True)

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        with self._turn:
            return super().incr(key, expiry, amount)


def open_store(redis_url: str | None, clock: Clock, stack: ExitStack) -> Store:
    """The store on this Redis, or in memory; it connects when it is first used."""
    if redis_url is None:
        return Store(_OwnMemory(), clock)
    client = RedisAddress(url=redis_url).client(timeout_s=_TIMEOUT_S)
    stack.callback(client.close)
    storage = RedisStorage(
        redis_url,
        connection_pool=client.connection_pool,
        key_prefix="errata:budget",
        wrap_exceptions=True,
    )
    return Store(storage, clock)
