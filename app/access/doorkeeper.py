"""Who a request is from: the one place where keys are recognised."""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session

from app.access import repository
from app.access.acquaintances import Acquaintances
from app.access.last_use import LastUse
from app.access.scopes import LOCAL, Caller, Scope, actor_of
from app.access.seal import is_intact
from app.access.ticket import Ticket
from app.access.token import Pepper, Token
from app.database.database import Database
from app.database.tables.api_keys import ApiKey
from app.errors import (
    DatabaseAway,
    KeyExpired,
    KeyInvalid,
    KeyNeeded,
    KeyRevoked,
    TicketInvalid,
    Unguarded,
)
from app.kit.clock import Clock, rfc3339
from app.kit.logs import get_logger
from app.settings import Settings

# Both its own: no endpoint, and no number of slow requests, can keep it from its work.
_THREADS = _CONNECTIONS = 4
_log = get_logger(__name__)

Proof = Token | Ticket
"""What proves that its sender has a key."""


class Doorkeeper:
    """Recognises keys, by the database as it is at each request.

    Without a key it lets everybody in as long as none was ever made and the service listens on
    loopback. A key that expired or was revoked opens nothing: the last one leaves a closed door.

    While the database is away, a key that it confirmed in the last minute may still query the
    model, and no more. A database that is there and does not answer admits no key.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._reader = database.reader(_CONNECTIONS)
        self._limiter = CapacityLimiter(_THREADS)
        self._last_use = LastUse(database)
        self._known = Acquaintances(clock)
        # A key was made, or others reach the service: then nothing opens the door any more.
        self._is_closed = not settings.is_on_loopback

    @property
    def is_open(self) -> bool:
        """Whether requests need no key now.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        if self._is_closed:
            return False
        with self._reader.read() as session:
            return self._lets_in_everybody(session)

    async def is_open_async(self) -> bool:
        """As `is_open`, on a thread that nothing else keeps busy."""
        return await to_thread.run_sync(lambda: self.is_open, limiter=self._limiter)

    async def admit_async(self, authorization: str | None) -> Caller:
        """As `admit`, on a thread that nothing else keeps busy."""
        return await to_thread.run_sync(self.admit, authorization, limiter=self._limiter)

    def admit(self, authorization: str | None) -> Caller:
        """Who sends this `Authorization` header.

        Raises:
            KeyNeeded: It holds no key that counts; the subclass says why.
            DatabaseUnavailable: Whether it does cannot be found out now.
        """
        return self._admit(lambda: _token(authorization))

    async def admit_by_ticket_async(self, ticket: str, *, opens: bool) -> Caller:
        """As `admit_by_ticket`, on a thread that nothing else keeps busy."""
        return await to_thread.run_sync(
            lambda: self.admit_by_ticket(ticket, opens=opens), limiter=self._limiter
        )

    def admit_by_ticket(self, ticket: str, *, opens: bool) -> Caller:
        """Who sends this ticket.

        Args:
            ticket: As it was sent.
            opens: Whether a stream begins; one that did in time may go on.

        Raises:
            KeyNeeded: It or its key does not count; the subclass says why.
            DatabaseUnavailable: Whether they do cannot be found out now.
        """
        return self._admit(lambda: self._ticket(ticket, opens))

    def issue_ticket(self, key_id: str) -> Ticket:
        """A ticket for the holder of a key."""
        return Ticket.issue(self._pepper, key_id, self._clock())

    def _admit(self, shown: Callable[[], Proof]) -> Caller:
        confirmation = self._known.confirmation()
        try:
            with self._reader.read() as session:
                if self._lets_in_everybody(session):
                    return LOCAL
                proof = shown()
                key = self._find(session, proof)
        except DatabaseAway:
            again = self._admit_again(shown)
            if again is None:
                raise
            return again
        caller = self._recognise(key)
        confirmation.of(proof.kid, key.digest, caller, key.expires_at)
        self._last_use.note(key.id, self._clock())
        return caller

    def forget(self, key_id: str) -> None:
        """Let a key in by the database only: it was just revoked."""
        self._known.forget(key_id)

    def close(self) -> None:
        """Stop noting when keys are used, and give the connections back."""
        self._last_use.close()
        self._reader.close()

    def _lets_in_everybody(self, session: Session) -> bool:
        if not self._is_closed:
            self._is_closed = repository.any_made(session)
        return not self._is_closed

    @cached_property
    def _pepper(self) -> Pepper:
        return Pepper.of(self._settings, make=False)

    def _ticket(self, text: str, opens: bool) -> Ticket:
        try:
            ticket = Ticket.parse(text)
        except ValueError as error:
            raise TicketInvalid(f"this is no ticket: {error}") from error
        if opens and ticket.ends_at <= self._clock():
            raise TicketInvalid(f"this ticket was good until {rfc3339(ticket.ends_at)}")
        return ticket

    def _find(self, session: Session, proof: Proof) -> ApiKey:
        """The stored key that is proved, if nothing that it is worth was altered.

        Raises:
            KeyInvalid: There is none.
            KeyRevoked: It was revoked.
        """
        try:
            key = repository.find(session, proof.kid)
        except (TypeError, ValueError) as error:  # what a column holds is not what it should
            raise _tampered(proof.kid) from error
        if key is None or not proof.fits(self._pepper, key.digest):
            raise KeyInvalid("no API key like this was made here, or it was mistyped")
        # Only who holds the secret is told what became of the key.
        if repository.is_revoked(session, key):
            self._known.forget(key.id)
            at = "" if key.revoked_at is None else f" at {rfc3339(key.revoked_at)}"
            raise KeyRevoked(f"API key {key.id} was revoked{at}")
        if not is_intact(self._pepper, key):
            raise _tampered(key.id)
        return key

    def _recognise(self, key: ApiKey) -> Caller:
        _refuse_expired(key.id, key.expires_at, self._clock())
        return Caller(actor_of(key.id), frozenset(Scope(name) for name in key.scopes))

    def _admit_again(self, shown: Callable[[], Proof]) -> Caller | None:
        """Who was let in a moment before the database went away; only to query."""
        if self._known.is_empty:
            return None
        proof = shown()
        known = self._known.find(proof.kid)
        if known is None or not proof.fits(self._pepper, known.digest):
            return None
        _refuse_expired(proof.kid, known.expires_at, self._clock())
        return known.readmitted


def check_guarded(settings: Settings, database: Database, now: datetime) -> None:
    """Let a service with these settings start.

    Raises:
        Unguarded: Others could reach it, and there is no live key.
        DatabaseUnavailable: The database cannot be reached.
    """
    if settings.is_on_loopback:
        return
    with database.read() as session:
        if not repository.any_live(session, now):
            raise Unguarded(settings.host, settings.data_dir)


def _token(authorization: str | None) -> Token:
    if authorization is None:
        raise KeyNeeded
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise KeyNeeded
    try:
        return Token.parse(text.strip())
    except ValueError as error:
        raise KeyInvalid(f"this is no API key: {error}") from error


def _tampered(key_id: str) -> KeyInvalid:
    _log.error("key_tampered", key_id=key_id)
    return KeyInvalid(f"what is stored of API key {key_id} was altered; make a new key")


def _refuse_expired(key_id: str, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise KeyExpired(f"API key {key_id} expired at {rfc3339(expires_at)}")
