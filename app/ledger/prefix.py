"""The beginning of the chain that was verified before, known again by its stored bytes."""

import hashlib
from collections.abc import Iterable

from app.ledger.chain import NOTHING, Link, Verdict


class StoredDigest:
    """SHA-256 of entries as they are stored; equal ones have equal entries, every byte of them."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def add(self, entries: Iterable[Link]) -> None:
        """Take these, after those before."""
        for entry in entries:
            # As Python writes it no text can pass for the end of another, and any byte is told.
            fields = (entry.kind, entry.payload, entry.actor, entry.at, entry.prev_hash, entry.hash)
            self._sum.update(repr((entry.index, *fields)).encode())

    def digest(self) -> bytes:
        """Of all that was taken."""
        return self._sum.digest()


class VerifiedPrefix:
    """What a process has verified of one chain, so that it need not make it canonical again.

    An entry is taken as verified only while every byte of it, and of those before it, is as it was.
    """

    def __init__(self) -> None:
        self._verdict, self._digest = NOTHING, StoredDigest().digest()

    @property
    def entries(self) -> int:
        """How many entries were verified."""
        return self._verdict.entries

    def known(self, stored: StoredDigest) -> Verdict | None:
        """What verifying the first `entries` found, if these are still the same."""
        return self._verdict if stored.digest() == self._digest else None

    def remember(self, verdict: Verdict, stored: StoredDigest) -> None:
        """These entries hold; a chain that does not is verified from its beginning each time."""
        if verdict.ok:
            self._verdict, self._digest = verdict, stored.digest()
