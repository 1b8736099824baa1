"""The ledger over HTTP."""

import json

from pydantic import BaseModel, ConfigDict, JsonValue

from app.ledger.chain import Link, Verdict


class EntryResource(BaseModel):
    """One entry; canonicalise it without `hash` (RFC 8785) and take SHA-256 to check `hash`."""

    model_config = ConfigDict(extra="forbid")

    index: int
    kind: str
    payload: JsonValue
    actor: str
    at: str
    prev_hash: str
    hash: str

    @classmethod
    def of(cls, entry: Link) -> "EntryResource":
        """The entry as the API shows it, even if it was tampered with."""
        return cls(
            index=entry.index,
            kind=_readable(entry.kind),
            payload=_payload(entry.payload),
            actor=_readable(entry.actor),
            at=_readable(entry.at),
            prev_hash=_readable(entry.prev_hash),
            hash=_readable(entry.hash),
        )


def _readable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _payload(text: str) -> JsonValue:
    try:
        payload: JsonValue = json.loads(_readable(text), parse_constant=str)
    except (ValueError, RecursionError):
        return _readable(text)
    return payload


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
