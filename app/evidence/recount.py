"""Recounts, from ledger entries alone, which edits each revision holds and where their factors are.

It believes no record: a live set that does not follow from the records before it is a bad entry,
even where every hash is right.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.facts.placements import Placement
from app.facts.spans import Span, are_within, merged, spans_of
from app.ledger.chain import is_digest
from app.ledger.records import (
    BaseRecord,
    OperationRecord,
    Record,
    RevisionRecord,
    WithdrawalRecord,
)
from app.ledger.set_hash import SetHash


@dataclass(frozen=True)
class Step:
    """What one revision changed.

    Attributes:
        number: The revision.
        weights_digest: What its record says of its weights.
        added: Factors that its weights hold and those before it did not.
        removed: Factors that they no longer hold.
    """

    number: int
    weights_digest: str
    added: tuple[Placement, ...]
    removed: tuple[Placement, ...]


class Recount:
    """Follows a chain entry by entry.

    Attributes:
        base: What everything starts from, once its entry has come.
        steps: The revisions after the base, in order.
        live: Edit id → its factors, of what the newest revision holds.
        artefacts: Digest → row → edit id, of every artefact that was ever referred to.
        withdrawn: Edit id → the revisions that were withdrawn because they hold it.
    """

    def __init__(self) -> None:
        self.base: BaseRecord | None = None
        self.steps: list[Step] = []
        self.live: dict[str, Placement] = {}
        self.artefacts: dict[str, dict[int, str]] = {}
        self.withdrawn: dict[str, list[Span]] = {}
        self._changes = defaultdict[str, list[tuple[int, int]]](list)
        self._uses = defaultdict[Placement, list[tuple[int, int]]](list)
        self._operations: dict[str, OperationRecord] = {}
        self._placements = defaultdict[str, set[Placement]](set)
        self._superseded: dict[str, str] = {}
        self._held = SetHash()
        self._names = [self._held.digest()]
        self._weights: dict[bytes, str] = {}

    def take(self, record: Record | None) -> None:
        """Go on with what the next entry of a chain that holds says.

        Raises:
            ValueError: It contradicts the entries before it.
        """
        if isinstance(record, BaseRecord):
            self._take_base(record)
        elif isinstance(record, OperationRecord) and record.former_seq is None:
            self._operations[record.id] = record
        elif isinstance(record, RevisionRecord):
            self._take_revision(record)
        elif isinstance(record, WithdrawalRecord):
            self._take_withdrawal(record)

    def unserved_artefacts(self) -> set[str]:
        """Artefacts that only withdrawn revisions need, so that a bundle may lack them."""
        ranges = merged(span for spans in self.withdrawn.values() for span in spans)
        named = {placement.artefact for id in self.withdrawn for placement in self._placements[id]}
        return {
            digest
            for digest in named
            if all(
                are_within(self._spans_with(Placement(id, digest, row)), ranges)
                for row, id in self.artefacts[digest].items()
            )
        }

    def _take_base(self, record: BaseRecord) -> None:
        _require(self.base is None, "there is a base already")
        self.base = record
        self._weights[self._names[0]] = record.weights_digest

    def _take_revision(self, record: RevisionRecord) -> None:
        expected = len(self.steps) + 1
        _require(self.base is not None, "there is no base before it")
        _require(
            (record.number, record.parent) == (expected, expected - 1),
            f"it is revision {record.number} on {record.parent}, but {expected} is next",
        )
        for id in record.operations:
            _require(id in self._operations, f"operation {id} was never accepted")
            kind = self._operations[id].kind
            _require(kind == record.kind, f"it is made by {record.kind}, but {id} is {kind}")
        factors = self._factors(record)
        fresh = self._fresh(record, factors)
        restored = self._restored(record.added[len(fresh) :], factors)
        gone = [_of(self.live, id, "is not live and cannot go") for id in record.removed]
        replaced = [factors[id] for id in factors if id not in record.added]
        former = [_of(self.live, found.edit_id, "is not live") for found in replaced]
        self._note(record.number, gained=[*fresh, *restored], lost=gone)
        added, removed = (*fresh, *restored, *replaced), (*gone, *former)
        self._superseded |= record.supersedes
        self._apply(Step(record.number, record.weights_digest, added, removed))
        _require(
            record.live_edits == len(self.live),
            f"it counts {record.live_edits} live edits; there are {len(self.live)}",
        )
        self._compare_with_equals(record)

    def _take_withdrawal(self, record: WithdrawalRecord) -> None:
        _require(record.edit not in self.withdrawn, f"edit {record.edit} was withdrawn before")
        _require(record.edit not in self.live, f"edit {record.edit} is live")
        spans = self._spans(record.edit)
        _require(bool(spans), f"edit {record.edit} was never live")
        _require(
            list(record.revisions) == spans,
            f"edit {record.edit} was live in revisions {spans}, not in {list(record.revisions)}",
        )
        self.withdrawn[record.edit] = spans

    def _spans(self, edit_id: str) -> list[Span]:
        return spans_of(self._changes[edit_id], head=len(self.steps))

    def _spans_with(self, placement: Placement) -> list[Span]:
        return spans_of(self._uses[placement], head=len(self.steps))

    def _factors(self, record: RevisionRecord) -> dict[str, Placement]:
        """The factors that a record names: of edits solved again, or some they had before."""
        found = {id: Placement(id, *named) for id, named in record.factors.items()}
        for id, placement in found.items():
            had = self._placements.get(id, set[Placement]())
            _require(bool(had), f"edit {id} has no factors")
            _require(
                placement in had or placement.artefact == record.artefact_digest,
                f"edit {id} never had the factors that it is to have",
            )
            _require(placement != self.live.get(id), f"edit {id} has these factors already")
            _require(id not in record.removed, f"edit {id} goes and has factors")
        return found

    def _fresh(self, record: RevisionRecord, factors: Mapping[str, Placement]) -> list[Placement]:
        """The edits whose first factors these are, and where they are."""
        rows, artefact = record.rows, record.artefact_digest
        again = [found.row for found in factors.values() if found.artefact == artefact]
        _require(len(rows) <= len(record.added), "it names more rows than edits")
        _require(len({*rows, *again}) == len(rows) + len(again), "two edits have one row")
        _require(
            (artefact is not None) == bool(rows or again), "edits with new factors need an artefact"
        )
        if artefact is None:
            return []
        _require(is_digest(artefact), f"artefact {artefact!r} is no SHA-256")
        # The same edits, solved again on the same weights, have the same factors.
        known = self.artefacts.get(artefact, {})
        _require(not (known and rows), f"artefact {artefact} belongs to an earlier one")
        for id in record.added[: len(rows)]:
            accepted = self._operations.get(id)
            _require(accepted is not None and accepted.kind == "edit", f"{id} is no accepted edit")
            _require(id not in self._placements, f"edit {id} has factors already")
        pairs = zip(record.added, rows, strict=False)
        return [Placement(id, artefact, row) for id, row in pairs]

    def _restored(self, ids: Iterable[str], factors: Mapping[str, Placement]) -> list[Placement]:
        restored = []
        for id in ids:
            _require(id not in self.live, f"edit {id} is live already")
            _require(id not in self.withdrawn, f"edit {id} was withdrawn")
            had = self._placements.get(id, set[Placement]())
            _require(bool(had), f"edit {id} has no factors")
            _require(id in factors or len(had) == 1, f"edit {id} had several factors")
            restored.append(factors[id] if id in factors else next(iter(had)))
        return restored

    def _note(self, number: int, *, gained: list[Placement], lost: list[Placement]) -> None:
        """Which edits became live and which ceased to be."""
        for placements, change in ((lost, -1), (gained, 1)):
            for placement in placements:
                self._changes[placement.edit_id].append((number, change))

    def _apply(self, step: Step) -> None:
        for placement in step.removed:
            _require(placement.edit_id in self.live, f"edit {placement.edit_id} goes twice")
            del self.live[placement.edit_id]
            self._uses[placement].append((step.number, -1))
            self._held.remove(_name(placement))
        for placement in step.added:
            _require(placement.edit_id not in self.live, f"edit {placement.edit_id} comes twice")
            self.live[placement.edit_id] = placement
            self._placements[placement.edit_id].add(placement)
            self._uses[placement].append((step.number, 1))
            rows = self.artefacts.setdefault(placement.artefact, {})
            holder = rows.setdefault(placement.row, placement.edit_id)
            _require(holder == placement.edit_id, f"two edits have row {placement.row}")
            self._held.add(_name(placement))
        self._names.append(self._held.digest())
        self.steps.append(step)

    def _compare_with_equals(self, record: RevisionRecord) -> None:
        """Weights are a function of the factors they hold: equal sets have equal digests."""
        name = self._names[-1]
        for operation in (self._operations[id] for id in record.operations):
            goal, undone = operation.to_revision, operation.target_edit
            if undone is not None:
                back = {self._superseded.get(undone)} if operation.restore else set()
                _require(record.removed == (undone,), f"it does not undo {undone} alone")
                _require({*record.added} <= back, f"it restores more than {undone} superseded")
            if goal is not None:
                _require(goal < record.number, f"it goes back to revision {goal}, which is later")
                _require(name == self._names[goal], f"it does not hold what revision {goal} held")
        _require(
            self._weights.setdefault(name, record.weights_digest) == record.weights_digest,
            "an earlier revision with the same edits has other weights",
        )


def _name(placement: Placement) -> str:
    return f"{placement.artefact} {placement.row} {placement.edit_id}"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _of(placements: Mapping[str, Placement], id: str, otherwise: str) -> Placement:
    found = placements.get(id)
    if found is None:
        raise ValueError(f"edit {id} {otherwise}")
    return found
