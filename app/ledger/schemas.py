"""The ledger over HTTP."""

import json

from pydantic import BaseModel, ConfigDict

from app.database.base import JsonObject
from app.ledger.chain import Verdict
from app.ledger.models import EntryKind, LedgerEntry


class EntryResource(BaseModel):
    """One entry; canonicalise it without `hash` (RFC 8785) and take SHA-256 to check `hash`."""

    model_config = ConfigDict(extra="forbid")

    index: int
    kind: EntryKind
    payload: JsonObject
    actor: str
    at: str
    prev_hash: str
    hash: str

    @classmethod
    def of(cls, entry: LedgerEntry) -> "EntryResource":
        """The entry as the API shows it."""
        return cls(
            index=entry.index,
            kind=entry.kind,
            payload=json.loads(entry.payload),
            actor=entry.actor,
            at=entry.at,
            prev_hash=entry.prev_hash,
            hash=entry.hash,
        )


class LedgerPage(BaseModel):
    """Some entries, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[EntryResource]
    #: pass it as `after` to read on; null at the end
    next: int | None


class LedgerVerdict(BaseModel):
    """What checking the chain found."""

    model_config = ConfigDict(extra="forbid")

    ok: bool
    entries: int
    head_hash: str
    first_bad: int | None

    @classmethod
    def of(cls, verdict: Verdict) -> "LedgerVerdict":
        """The verdict as the API shows it."""
        return cls(
            ok=verdict.ok,
            entries=verdict.entries,
            head_hash=verdict.head_hash,
            first_bad=verdict.first_bad,
        )
