"""`Idempotency-Key`: the same caller's same request, sent again, has the effect of one.

Every route that changes something depends on `app.deps.idempotency.OnceDep`. In its write
transaction it asks `recall` before anything else, and calls `keep` with the id of what it made or
changed:

    known = once.recall(session)
    if known is None:
        known = make(session)
        once.keep(session, known)

So the key is stored if and only if the change is, and a repetition is answered although a limit
was reached meanwhile.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Self

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.database.tables.idempotency import IdempotencyKey
from app.errors import IdempotencyMismatch
from app.kit.canonical import JsonObject, canonical
from app.kit.clock import Clock
from app.operations import idempotency_keys as repository


@dataclass(frozen=True)
class Once:
    """A request that changes something, and that its client may send again.

    Attributes:
        actor: Who sends it.
        route: Method and path template; each has keys of its own.
        key: What its client calls it; None where a repetition is another request.
        clock: Tells the time.
        kept_for: How long a key is kept.
        asked: What it asks for, without floats.
    """

    actor: str
    route: str
    key: str | None
    clock: Clock
    kept_for: timedelta
    asked: Mapping[str, object] = field(default_factory=dict)

    def asking(self, body: JsonObject | BaseModel | None) -> Self:
        """The same request, known to ask for this; fields at their defaults do not count."""
        if isinstance(body, BaseModel):
            body = body.model_dump(mode="json", exclude_defaults=True)
        return replace(self, asked={**self.asked, **(body or {})})

    def recall(self, session: Session) -> str | None:
        """The id of what this request made or changed when it was sent before; None if it was not.

        Raises:
            IdempotencyMismatch: The key was sent with a request for something else.
        """
        if self.key is None:
            return None
        since = self.clock() - self.kept_for
        known = repository.find(session, self.actor, self.route, digest_of(self.key), since=since)
        if known is None:
            return None
        if known.body_digest != self._digest:
            raise IdempotencyMismatch
        return known.resource

    def keep(self, session: Session, resource: str) -> None:
        """Let the key stand for what the request made or changed, by its id; sweep old keys."""
        if self.key is None:
            return
        now = self.clock()
        repository.sweep(session, before=now - self.kept_for)
        stored = IdempotencyKey(
            actor=self.actor,
            route=self.route,
            key=digest_of(self.key),
            body_digest=self._digest,
            resource=resource,
            created_at=now,
        )
        repository.store(session, stored)

    @cached_property
    def _digest(self) -> str:
        return digest_of(canonical(dict(self.asked)))


def digest_of(text: str) -> str:
    """SHA-256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
