"""What a key is for, and who a request is from."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key allows."""

    #: ask the model
    QUERY = "query"
    #: post edits, follow and cancel them
    EDIT = "edit"
    #: undo: reverts, rollbacks, and the labels they go to
    ROLLBACK = "rollback"
    #: read history: revisions, labels, the ledger
    AUDIT = "audit"
    #: take weights away
    EXPORT = "export"
    #: scrape figures that hold no text
    METRICS = "metrics"
    #: everything, also keys and erasing
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Who a request is from.

    Attributes:
        actor: The name the ledger records a change under.
        scopes: What may be asked.
        without_database: Whether it is let in on short memory, with fewer scopes than its key has.
    """

    actor: str
    scopes: frozenset[Scope]
    without_database: bool = False

    def may(self, any_of: Collection[Scope]) -> bool:
        """Whether one of these scopes, or `admin`, is held."""
        return not self.scopes.isdisjoint({*any_of, Scope.ADMIN})


def actor_of(key_id: str) -> str:
    """The name that the ledger records the changes of a key under."""
    return f"key:{key_id}"


def key_of(actor: str) -> str | None:
    """The id of the key that a name stands for; None if it is no key's."""
    kind, _, key_id = actor.partition(":")
    return key_id if kind == "key" else None


#: everybody, where nobody needs a key
LOCAL = Caller("local", frozenset({Scope.ADMIN}))
