"""Who a request is from: the one place where keys are recognised."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from sqlalchemy.orm import Session

from app.clock import Clock, rfc3339
from app.database.database import Database
from app.errors import (
    DatabaseUnavailable,
    KeyExpired,
    KeyInvalid,
    KeyNeeded,
    KeyRevoked,
    Unguarded,
)
from app.keys import repository
from app.keys.last_use import LastUse
from app.keys.models import ApiKey
from app.keys.scopes import LOCAL, Caller, Scope
from app.keys.token import Pepper, Token
from app.settings import Settings


@dataclass(frozen=True)
class _Admitted:
    caller: Caller
    expires_at: datetime | None


class Doorkeeper:
    """Recognises keys, by the database as it is at each request.

    Without a key it lets everybody in as long as none was ever made and the service listens on
    loopback. A key that expired or was revoked opens nothing: the last one leaves a closed door.

    While the database is away, whoever was let in before is let in again, so that the model can
    still be queried; whatever needs the database is refused by that anyway.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock
        self._last_use = LastUse(database)
        self._was_open: bool | None = None  # not known before the first request
        self._admitted: dict[str, _Admitted] = {}

    @property
    def is_open(self) -> bool:
        """Whether requests need no key now.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
        """
        with self._database.read() as session:
            return self._lets_in_everybody(session)

    def admit(self, authorization: str | None) -> Caller:
        """Who sends this `Authorization` header.

        Raises:
            KeyNeeded: It holds no key that counts; the subclass says why.
            DatabaseUnavailable: Whether it does cannot be found out now.
        """
        try:
            with self._database.read() as session:
                self._was_open = self._lets_in_everybody(session)
                if self._was_open:
                    return LOCAL
                token = _token(authorization)
                key = repository.find(session, token.kid)
        except DatabaseUnavailable:
            again = self._admit_again(authorization)
            if again is None:
                raise
            return again
        return self._recognise(token, key)

    def close(self) -> None:
        """Stop noting when keys are used."""
        self._last_use.close()

    def _lets_in_everybody(self, session: Session) -> bool:
        return self._settings.is_on_loopback and not repository.any_made(session)

    @cached_property
    def _pepper(self) -> Pepper:
        return Pepper.of(self._settings, make=False)

    def _recognise(self, token: Token, key: ApiKey | None) -> Caller:
        if key is None or not self._pepper.fits(token, key.digest):
            raise KeyInvalid("no API key like this was made here, or it was mistyped")
        self._admitted.pop(key.digest, None)
        # Only who holds the secret is told what became of the key.
        if key.revoked_at is not None:
            raise KeyRevoked(f"API key {key.id} was revoked at {rfc3339(key.revoked_at)}")
        now = self._clock()
        _refuse_expired(key.id, key.expires_at, now)
        caller = Caller(f"key:{key.id}", frozenset(Scope(name) for name in key.scopes))
        self._admitted[key.digest] = _Admitted(caller, key.expires_at)
        self._last_use.note(key.id, now)
        return caller

    def _admit_again(self, authorization: str | None) -> Caller | None:
        """Whom this header let in before the database went away."""
        if self._was_open is None:
            return None
        if self._was_open:
            return LOCAL
        token = _token(authorization)
        admitted = self._admitted.get(self._pepper.digest(token)) if self._admitted else None
        if admitted is None:
            return None
        _refuse_expired(token.kid, admitted.expires_at, self._clock())
        return admitted.caller


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
            raise Unguarded(settings.host)


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


def _refuse_expired(key_id: str, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise KeyExpired(f"API key {key_id} expired at {rfc3339(expires_at)}")
