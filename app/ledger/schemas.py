"""The ledger over HTTP."""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.kit.canonical import canonical
from app.ledger.chain import Link, Verdict
from app.ledger.differing import RowDiffers
from app.ledger.records import ArtefactFlaw


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

    def to_line(self) -> str:
        """One line of JSON: the RFC 8785 text, which an altered entry may not have."""
        try:
            return canonical(self.model_dump()) + "\n"
        except (TypeError, ValueError):
            return self.model_dump_json() + "\n"

    def to_link(self) -> Link:
        """The entry as it is hashed.

        Raises:
            TypeError: It holds a float.
            ValueError: It holds something else that has no canonical text.
        """
        return Link(
            index=self.index,
            kind=self.kind,
            payload=canonical(self.payload),
            actor=self.actor,
            at=self.at,
            prev_hash=self.prev_hash,
            hash=self.hash,
        )


def _readable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _payload(text: str) -> JsonValue:
    try:
        payload: JsonValue = json.loads(_readable(text), parse_constant=str)
        json.dumps(payload, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return _readable(text)
    return payload


class LedgerPage(BaseModel):
    """Some entries, oldest first."""

    model_config = ConfigDict(extra="forbid")

    items: list[EntryResource]
    #: pass it as `after` to read on; null at the end
    next: int | None


class BadRow(BaseModel):
    """A row of the database that is not what the ledger says of it."""

    model_config = ConfigDict(extra="forbid")

    table: str
    id: str
    what: str


class LedgerVerdict(BaseModel):
    """What checking the chain, and what hangs on it, found."""

    model_config = ConfigDict(extra="forbid")

    ok: bool
    entries: int
    head_hash: str
    first_bad: Annotated[
        int | None,
        Field(
            description="The first entry that does not hold, or whose artefact or row does not; "
            "null where no entry tells of the row."
        ),
    ]
    bad_artefact: Annotated[
        str | None, Field(description="That artefact, if the chain itself holds.")
    ] = None
    bad_row: Annotated[BadRow | None, Field(description="That row, if the chain holds.")] = None

    @classmethod
    def of(
        cls, verdict: Verdict, *, flaw: ArtefactFlaw | None = None, row: RowDiffers | None = None
    ) -> "LedgerVerdict":
        """The verdict as the API shows it."""
        found = flaw or row
        return cls(
            ok=verdict.ok and found is None,
            entries=verdict.entries,
            head_hash=verdict.head_hash,
            first_bad=verdict.first_bad if found is None else found.index,
            bad_artefact=None if flaw is None else flaw.digest,
            bad_row=None if row is None else BadRow(table=row.table, id=row.id, what=row.what),
        )
