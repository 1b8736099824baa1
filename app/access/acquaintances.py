"""Keys that were let in a moment ago: what the doorkeeper knows while the database is away."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from app.access.scopes import Caller, Scope
from app.kit.clock import Clock

# How long a revocation that this process did not see may go unheeded while the database is away.
KNOWN_FOR = timedelta(seconds=60)
_MOST = 1_024  # keys
_NOTHING = timedelta(0)


@dataclass(frozen=True)
class Acquaintance:
    """A key that the database confirmed.

    Attributes:
        digest: What is stored of it.
        readmitted: Its holder, with what may be asked without the database.
        expires_at: When it expires; None for never.
        confirmed_at: When the database was last asked.
    """

    digest: str
    readmitted: Caller
    expires_at: datetime | None
    confirmed_at: datetime


class Acquaintances:
    """The keys confirmed in the last minute that may query; a bounded number, the newest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._known = OrderedDict[str, Acquaintance]()
        self._forgotten = 0  # how often something was

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any key."""
        return not self._known

    def confirmation(self) -> "Confirmation":
        """Begin to ask the database about a key."""
        return Confirmation(self, self._clock(), self._forgotten)

    def find(self, key_id: str) -> Acquaintance | None:
        """What is known of a key; None if it was not confirmed lately."""
        known = self._known.get(key_id)
        if known is None or not _NOTHING <= self._clock() - known.confirmed_at < KNOWN_FOR:
            return None
        return known

    def forget(self, key_id: str) -> None:
        """Know a key no longer; an answer of the database that is on its way counts no more."""
        with self._lock:
            self._forgotten += 1
            self._known.pop(key_id, None)

    def remember(self, key_id: str, known: Acquaintance, forgotten: int) -> None:
        """Know a key, unless some key was forgotten since the database was asked."""
        with self._lock:
            if forgotten == self._forgotten:
                self._known[key_id] = known
                self._known.move_to_end(key_id)
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)


@dataclass(frozen=True)
class Confirmation:
    """An answer of the database about a key, as old as the question.

    Attributes:
        known: Where it is kept.
        asked_at: When the database was asked.
        forgotten: What had been forgotten by then.
    """

    known: Acquaintances
    asked_at: datetime
    forgotten: int

    def of(self, key_id: str, digest: str, caller: Caller, expires_at: datetime | None) -> None:
        """The database said that this key counts."""
        if caller.may([Scope.QUERY]):
            readmitted = Caller(caller.actor, frozenset({Scope.QUERY}), without_database=True)
            found = Acquaintance(digest, readmitted, expires_at, self.asked_at)
            self.known.remember(key_id, found, self.forgotten)
