"""API keys over HTTP, for whoever has the scope ``admin``."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from app.client.answers import CreatedKey, Key, KeyPage, RevokedKey
from app.client.connection import Connection


class Keys:
    """The API keys of one server; its methods raise what those of `Errata` do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        scopes: Sequence[str],
        *,
        name: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Make a key; its secret is in what this returns and nowhere else.

        Called again with the same `idempotency_key`, it raises `Refused` by the id of the key that
        was made: revoke that one.
        """
        moment = None if expires_at is None else expires_at.isoformat()
        body = {"scopes": list(scopes), "name": name, "expires_at": moment}
        return self._connection._post("/v1/keys", body, CreatedKey, idempotency_key)

    def all(self) -> Iterator[Key]:
        """All keys, oldest first, those that no longer count among them."""
        for page in self._connection._pages("/v1/keys", KeyPage):
            yield from page.items

    def revoke(
        self, key_id: str, *, cancel_queued: bool = False, idempotency_key: str | None = None
    ) -> RevokedKey:
        """Have a key count no longer, from the next request on.

        Args:
            key_id: Which one.
            cancel_queued: Cancel as well what it has queued and no worker has begun.
            idempotency_key: Names the request, so that it may be sent again.
        """
        path = f"/v1/keys/{key_id}" + ("?cancel_queued=true" if cancel_queued else "")
        return self._connection._withdraw(path, RevokedKey, idempotency_key)
