"""The hash chain: what a link is, and what makes it the next one. Knows no database.

`hash` = SHA-256 of the RFC 8785 form of every other field of the entry, `prev_hash` among them; so
anyone can check an entry as the API shows it with a JSON canonicaliser and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.kit.canonical import JsonObject, canonical

#: what the first entry has in place of its predecessor's hash
GENESIS = "0" * 64

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Link:
    """One entry of the chain, as it is hashed.

    Attributes:
        index: Place in the chain, gap-free from 0.
        kind: What the entry records.
        payload: Canonical JSON text of the record.
        actor: Who caused it.
        at: When, RFC 3339 in UTC.
        prev_hash: `hash` of the entry before, or `GENESIS`.
        hash: SHA-256, 64 hex digits.
    """

    index: int
    kind: str
    payload: str
    actor: str
    at: str
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class Verdict:
    """What checking a chain found.

    Attributes:
        entries: How many entries were read, up to the first bad one.
        head_hash: `hash` of the last good entry, `GENESIS` if there is none.
        first_bad: Index of the first entry that is altered, missing or out of place.
    """

    entries: int
    head_hash: str
    first_bad: int | None

    @property
    def ok(self) -> bool:
        """Whether the whole chain holds."""
        return self.first_bad is None


def is_digest(text: str) -> bool:
    """Whether this is SHA-256 as we write it."""
    return _DIGEST.fullmatch(text) is not None


def link(
    *, index: int, kind: str, payload: JsonObject, actor: str, at: str, prev_hash: str
) -> Link:
    """The entry that follows the one with `prev_hash`."""
    record = {
        "index": index,
        "kind": kind,
        "payload": payload,
        "actor": actor,
        "at": at,
        "prev_hash": prev_hash,
    }
    digest = hashlib.sha256(canonical(record).encode()).hexdigest()
    return Link(index, kind, canonical(payload), actor, at, prev_hash, digest)


#: what checking no link finds
NOTHING = Verdict(entries=0, head_hash=GENESIS, first_bad=None)


def verify(links: Iterable[Link], after: Verdict = NOTHING) -> Verdict:
    """Check every link in order, in one pass and constant memory.

    Args:
        links: The entries.
        after: What checking those before them found.
    """
    head, count = after.head_hash, after.entries
    for entry in links:
        if not follows(entry, index=count, prev_hash=head):
            return Verdict(entries=count, head_hash=head, first_bad=count)
        head, count = entry.hash, count + 1
    return Verdict(entries=count, head_hash=head, first_bad=None)


def follows(entry: Link, *, index: int, prev_hash: str) -> bool:
    """Whether an entry is whole, and the one after the entry with `prev_hash`."""
    try:
        payload = json.loads(entry.payload)
        expected = link(
            index=index,
            kind=entry.kind,
            payload=payload,
            actor=entry.actor,
            at=entry.at,
            prev_hash=prev_hash,
        )
    except (ValueError, TypeError, RecursionError):
        return False  # a tampered text need not be JSON, nor encodable
    # The canonical payload is compared too: other spellings of the same JSON are alterations.
    return expected == entry
