"""API keys over HTTP."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.access.repository import DamagedApiKey
from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.access.token import Token
from app.database.tables.api_keys import ApiKey
from app.kit.fields import Phrase
from app.kit.moment import Moment


class KeyRequest(BaseModel):
    """Make a key."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Phrase | None, Field(description="What people call it.")] = None
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope), fail_fast=True)]
    expires_at: Annotated[Moment | None, Field(description="Null for never.")] = None

    def to_new_key(self) -> NewApiKey:
        """What is asked for."""
        return NewApiKey(self.scopes, self.name, self.expires_at)


class KeyResource(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(extra="forbid")

    id: str
    name: str | None
    scopes: list[Scope]
    created_at: Annotated[datetime | None, Field(description="Null where it cannot be read.")]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]
    ledger_index: Annotated[int, Field(description="The ledger entry of its making.")]

    damaged: Annotated[
        bool, Field(description="What is stored of it was altered and is no key: it opens nothing.")
    ] = False

    @classmethod
    def of(cls, key: ApiKey | DamagedApiKey) -> "KeyResource":
        """The key as the API shows it."""
        if isinstance(key, ApiKey):
            with suppress(TypeError, ValueError):
                return cls._read(key)
        return cls(
            id=key.id,
            name=None,
            scopes=[],
            created_at=None,
            expires_at=None,
            revoked_at=None,
            last_used_at=None,
            ledger_index=key.ledger_index,
            damaged=True,
        )

    @classmethod
    def _read(cls, key: ApiKey) -> "KeyResource":
        return cls(
            id=key.id,
            name=key.name,
            scopes=[Scope(name) for name in key.scopes],
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            ledger_index=key.ledger_index,
        )


class CreatedKey(KeyResource):
    """A key that was just made."""

    key: Annotated[str, Field(description="Send it as a bearer token. It is never shown again.")]

    @classmethod
    def made(cls, key: ApiKey, token: Token) -> "CreatedKey":
        """The key with its secret, for this one answer."""
        return cls(**KeyResource.of(key).model_dump(), key=token.text)


class RevokedKeyResource(KeyResource):
    """A revoked key."""

    cancelled: Annotated[int, Field(description="How many operations were cancelled with it.")]

    @classmethod
    def revoked(cls, key: ApiKey | DamagedApiKey, cancelled: int) -> "RevokedKeyResource":
        """The key, and how much went with it."""
        return cls(**KeyResource.of(key).model_dump(), cancelled=cancelled)


class KeyPage(BaseModel):
    """Some keys, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[KeyResource]
    next: Annotated[int | None, Field(description="Pass it as `after`; null at the end.")]
