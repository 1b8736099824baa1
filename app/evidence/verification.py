"""Checks a bundle without any service: chain, signatures, records, artefacts, and weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import BrokenEvidence
from app.evidence.evidence import Bundle
from app.evidence.recount import Recount
from app.ledger.bundle import CHECKPOINT_NAME
from app.ledger.chain import GENESIS, Link, follows
from app.ledger.checkpoint import Checkpoint
from app.ledger.lifecycle import Lifecycle
from app.ledger.records import read
from app.ledger.schemas import EntryResource
from editing_core.weights.header import edits_in

WeightsChecked = Literal["none", "head", "every revision"]

CheckWeights = Callable[[Bundle, Recount], WeightsChecked]
"""Recomputes weights from a model; raises `BrokenEvidence` where they are not those recorded."""


class Finding(BaseModel):
    """The first thing that does not hold.

    Attributes:
        part: `entry`, `artefact`, `revision`, `checkpoint`, `model` or `member`.
        name: Which one: an index, a digest, a number, or a name.
        message: What is wrong with it.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    name: int | str
    message: str


class BundleVerdict(BaseModel):
    """What checking a bundle found.

    Attributes:
        ok: Whether all of it holds.
        entries: Entries of the chain, up to the first bad one.
        head_hash: Hash of the last of them.
        origin: Hash of the first: which ledger it is.
        revisions: Revisions after the base.
        live_edits: Edits that the newest of them holds.
        artefacts: Artefacts that were found unaltered.
        withheld: Artefacts that are not there, since only withdrawn revisions need them.
        public_key: Whose signature is under the checkpoint.
        key_trusted: Whether that key was given, or is that of a checkpoint kept elsewhere.
        kept_size: How many entries a checkpoint kept elsewhere vouches for.
        weights: Which revisions' weights were recomputed.
        set_backs: Entries that accept an older state of the database: what followed was lost.
        first_bad: What does not hold.
    """

    model_config = ConfigDict(frozen=True)

    ok: bool
    entries: int
    head_hash: str
    origin: str | None
    revisions: int
    live_edits: int
    artefacts: int
    withheld: int
    public_key: str | None
    key_trusted: bool
    kept_size: int | None
    weights: WeightsChecked
    set_backs: list[int]
    first_bad: Finding | None


def verify_bundle(
    path: Path,
    *,
    kept: Checkpoint | None = None,
    trusted: frozenset[str] = frozenset(),
    check_weights: CheckWeights | None = None,
) -> BundleVerdict:
    """Check a bundle until something does not hold.

    Args:
        path: The file.
        kept: A checkpoint of the same ledger that was kept elsewhere.
        trusted: Public keys, one of which must have signed; by default that of `kept`.
        check_weights: How to recompute weights, if a model is at hand.

    Raises:
        OSError: The file cannot be read.
    """
    examination = _Examination(kept, trusted)
    try:
        with Bundle(path) as bundle:
            examination.run(bundle, check_weights)
    except BrokenEvidence as error:
        finding = Finding(part=error.part, name=error.name, message=error.message)
        return examination.verdict(finding)
    except (MemoryError, RecursionError) as error:
        message = f"checking it takes more than this machine has ({type(error).__name__})"
        return examination.verdict(Finding(part="member", name=path.name, message=message))
    return examination.verdict(None)


class _Examination:
    """One pass over a bundle, and how far it came."""

    def __init__(self, kept: Checkpoint | None, trusted: frozenset[str]) -> None:
        self._kept = kept
        self._trusted = trusted or frozenset(() if kept is None else (kept.public_key,))
        self._recount, self._lifecycle = Recount(), Lifecycle()
        self._entries, self._head, self._origin = 0, GENESIS, ""
        self._hash_at_kept: str | None = None
        self._artefacts = self._withheld = 0
        self._signed: Checkpoint | None = None
        self._kept_holds = False
        self._weights: WeightsChecked = "none"

    def run(self, bundle: Bundle, check_weights: CheckWeights | None) -> None:
        bundle.check_form()
        self._check_chain(bundle)
        self._check_own_checkpoint(bundle.checkpoint())
        if self._kept is not None:
            self._check_kept_checkpoint(self._kept)
        self._check_artefacts(bundle)
        if check_weights is not None:
            self._weights = check_weights(bundle, self._recount)

    def verdict(self, finding: Finding | None) -> BundleVerdict:
        signed = self._signed
        return BundleVerdict(
            ok=finding is None,
            entries=self._entries,
            head_hash=self._head,
            origin=self._origin or None,
            revisions=len(self._recount.steps),
            live_edits=len(self._recount.live),
            artefacts=self._artefacts,
            withheld=self._withheld,
            public_key=None if signed is None else signed.public_key,
            key_trusted=signed is not None and signed.public_key in self._trusted,
            kept_size=self._kept.size if self._kept is not None and self._kept_holds else None,
            weights=self._weights,
            set_backs=self._lifecycle.set_backs,
            first_bad=finding,
        )

    def _check_chain(self, bundle: Bundle) -> None:
        for index, line in enumerate(bundle.lines()):
            entry = _entry(line)
            if entry is None or not follows(entry, index=index, prev_hash=self._head):
                raise _bad_entry(index, "is altered, missing or out of place")
            self._follow(entry)
            self._entries, self._head = index + 1, entry.hash
            self._origin = self._origin or entry.hash
            if self._kept is not None and self._kept.size == self._entries:
                self._hash_at_kept = entry.hash

    def _follow(self, entry: Link) -> None:
        try:
            record = read(entry)
            self._recount.take(record)
            self._lifecycle.take(entry.index, record)
        except ValueError as error:
            raise _bad_entry(entry.index, f"({entry.kind}) does not hold: {error}") from error

    def _check_own_checkpoint(self, own: Checkpoint) -> None:
        self._check_signature(own, CHECKPOINT_NAME)
        self._signed = own
        size = self._entries
        if own.size > size:
            raise _bad_entry(size, f"is missing: the checkpoint covers {own.size} entries")
        if own.size < size:
            raise _bad_entry(own.size, "is not covered by the checkpoint")
        if (own.origin, own.hash) != (self._origin, self._head):
            raise BrokenEvidence(
                "checkpoint", CHECKPOINT_NAME, "the checkpoint is that of another chain"
            )

    def _check_kept_checkpoint(self, kept: Checkpoint) -> None:
        self._check_signature(kept, "kept")
        size = self._entries
        if kept.origin != self._origin:
            raise _bad_entry(
                0,
                "is not the one that the kept checkpoint begins with: this is another ledger, or "
                "all of it was rewritten",
            )
        if kept.size > size:
            raise _bad_entry(size, f"is missing: the kept checkpoint covers {kept.size} entries")
        if kept.hash != self._hash_at_kept:
            raise _bad_entry(
                kept.size - 1,
                "is not the one that the kept checkpoint ends with: the ledger was rewritten",
            )
        self._kept_holds = True

    def _check_signature(self, checkpoint: Checkpoint, name: str) -> None:
        key = checkpoint.public_key
        if not checkpoint.is_signed:
            raise BrokenEvidence("checkpoint", name, f"the signature is not that of {key}")
        if self._trusted and key not in self._trusted:
            raise BrokenEvidence(
                "checkpoint", name, f"it is signed by {key}, which is not a key you trust"
            )

    def _check_artefacts(self, bundle: Bundle) -> None:
        found, unserved = bundle.artefacts(), self._recount.unserved_artefacts()
        for digest, rows in self._recount.artefacts.items():
            if digest in unserved and digest not in found:
                self._withheld += 1
                continue
            header = bundle.artefact_header(digest)
            try:
                edits = dict(enumerate(edits_in(header)))
            except ValueError as error:
                raise BrokenEvidence(
                    "artefact", digest, f"artefact {digest} holds no factors: {error}"
                ) from error
            if any(edits.get(row) != edit for row, edit in rows.items()):
                raise BrokenEvidence(
                    "artefact", digest, f"artefact {digest} holds other edits than the ledger says"
                )
            self._artefacts += 1
        for digest in sorted(found - self._recount.artefacts.keys()):
            raise BrokenEvidence("artefact", digest, f"no ledger entry refers to {digest}")


def _bad_entry(index: int, why: str) -> BrokenEvidence:
    return BrokenEvidence("entry", index, f"entry {index} {why}")


def _entry(line: bytes) -> Link | None:
    """The entry in a line; None if the line is not exactly what the service writes for one."""
    try:
        entry = EntryResource.model_validate_json(line)
        return entry.to_link() if entry.to_line().encode() == line else None
    except (ValidationError, TypeError, ValueError, RecursionError):
        return None
