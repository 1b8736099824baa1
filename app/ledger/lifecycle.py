"""Follows from entry to entry the operations, labels, keys and exports, and the recipe.

An entry that could not have been written after those before it is a bad entry, even where every
hash is right.
"""

from app.ledger.records import (
    BaseRecord,
    ErasureRecord,
    ExportRecord,
    KeyRecord,
    OperationRecord,
    RecipeRecord,
    Record,
    RevisionRecord,
    SetBackRecord,
    SnapshotRecord,
    VerdictRecord,
)

_AGAIN = "dead"  # the one end after which an operation may be accepted again


class Lifecycle:
    """The operations, labels, keys and exports after the entries so far.

    Attributes:
        set_backs: Indices of the entries that accept an older state of the database.
    """

    def __init__(self) -> None:
        self.set_backs: list[int] = []
        self._next_seq = 1
        self._places: dict[str, int] = {}
        self._ends: dict[str, str] = {}
        self._labels: dict[str, int] = {}
        self._keys: set[str] = set()
        self._revoked: set[str] = set()
        self._exports: set[str] = set()
        self._head = 0
        self._recipe: str | None = None

    def take(self, index: int, record: Record | None) -> None:
        """Go on with what the next entry says.

        Raises:
            ValueError: It contradicts the entries before it.
        """
        self._follow_recipe(record)
        match record:
            case OperationRecord() as record:
                self._accept(record)
            case VerdictRecord() as record:
                self._end(record.id, record.status, record.seq)
            case RevisionRecord() as record:
                self._head = record.number
                for id in record.operations:
                    self._end(id, "committed")
            case SnapshotRecord() as record:
                self._label(record)
            case ErasureRecord() as record:
                _require(record.id in self._places, f"operation {record.id} was never accepted")
            case KeyRecord() as record:
                self._key(record)
            case ExportRecord() as record:
                self._export(record)
            case SetBackRecord():
                self.set_backs.append(index)

    def _accept(self, record: OperationRecord) -> None:
        _require(
            record.seq == self._next_seq,
            f"{record.id} has place {record.seq}, but {self._next_seq} is next",
        )
        if record.former_seq is None:
            _require(record.id not in self._places, f"{record.id} was accepted before")
        else:
            left = self._places.get(record.id)
            _require(record.former_seq == left, f"{record.id} leaves a place that it never had")
            _require(self._ends.pop(record.id, "") == _AGAIN, f"{record.id} had not been given up")
        self._places[record.id] = record.seq
        self._next_seq += 1

    def _end(self, id: str, status: str, seq: int | None = None) -> None:
        _require(id in self._places, f"operation {id} was never accepted")
        _require(id not in self._ends, f"operation {id} ended before")
        _require(seq in (None, self._places[id]), f"operation {id} does not have place {seq}")
        self._ends[id] = status

    def _label(self, record: SnapshotRecord) -> None:
        label, revision = record.label, self._labels.get(record.label)
        if record.removed:
            _require(revision == record.revision, f"no revision {record.revision} has {label!r}")
            del self._labels[label]
        else:
            _require(revision is None, f"label {label!r} is on a revision already")
            _require(record.revision <= self._head, f"there is no revision {record.revision}")
            self._labels[label] = record.revision

    def _key(self, record: KeyRecord) -> None:
        if record.revoked:
            _require(record.id in self._keys, f"key {record.id} was never made")
            _require(record.id not in self._revoked, f"key {record.id} was revoked before")
            self._revoked.add(record.id)
        else:
            _require(record.id not in self._keys, f"key {record.id} was made before")
            self._keys.add(record.id)

    def _follow_recipe(self, record: Record | None) -> None:
        if isinstance(record, BaseRecord):
            self._recipe = record.recipe_digest
        elif isinstance(record, RecipeRecord):
            _require(record.former == self._recipe, f"recipe {record.former} was not in use")
            _require(record.digest != self._recipe, f"recipe {record.digest} was in use already")
            self._recipe = record.digest

    def _export(self, record: ExportRecord) -> None:
        _require((record.revision or 0) <= self._head, f"there is no revision {record.revision}")
        if record.format is not None:
            self._exports.add(record.id)
        _require(record.id in self._exports, f"export {record.id} was never asked for")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
