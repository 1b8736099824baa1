"""Labels, keys, exports and withdrawals: what stands of them after all entries, against their rows.

There are few of them, and the ledger tells of their ends; so they are replayed, and their rows are
looked at once, with the last entry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.audit.rows.reading import Compared, Told, require_equal, rows_by_key
from app.audit.rows.withdrawals import WithdrawalRows
from app.database.tables.api_keys import ApiKey
from app.database.tables.exports import Export
from app.database.tables.labels import Snapshot
from app.ledger.differing import RowDiffers
from app.ledger.records import ExportRecord, KeyRecord, SnapshotRecord, WithdrawalRecord

_LABEL = (Snapshot.label, Snapshot.revision, Snapshot.created_at, Snapshot.ledger_index)
_KEY = (
    ApiKey.id,
    ApiKey.scopes,
    ApiKey.created_at,
    ApiKey.expires_at,
    ApiKey.revoked_at,
    ApiKey.ledger_index,
    ApiKey.revocation_index,
)
_EXPORT = (
    Export.id,
    Export.format,
    Export.revision,
    Export.max_rank,
    Export.actor,
    Export.created_at,
    Export.digest,
    Export.size,
    Export.ledger_index,
)


@dataclass
class _Standing:
    """What was made and not removed: the entry of its making, and the newest about it."""

    made: Told
    newest: Told


class StandingRows:
    """Follows the ledger, and compares at its end."""

    def __init__(self) -> None:
        self._withdrawals = WithdrawalRows()
        self._labels: dict[str, _Standing] = {}
        self._keys: dict[str, _Standing] = {}
        self._exports: dict[str, _Standing] = {}

    def take(self, page: Sequence[Told]) -> None:
        """Note what these entries say."""
        for told in page:
            match told.record:
                case SnapshotRecord() as record:
                    _follow(self._labels, record.label, told, removed=record.removed)
                case KeyRecord() as record:
                    _follow(self._keys, record.id, told)
                case WithdrawalRecord():
                    self._withdrawals.take(told)
                case ExportRecord() as record:
                    # One that was asked for again is still the first one's.
                    again = record.format is not None and record.id in self._exports
                    if not again:
                        _follow(self._exports, record.id, told, removed=record.removed)

    def finish(self, session: Session) -> None:
        """All entries there are have been taken.

        Raises:
            RowDiffers: A row is another, is missing, or no entry tells of it.
        """
        self._withdrawals.finish(session)
        labels = select(Snapshot.label).where(Snapshot.label.is_not(None))
        for table, columns, named, standing, compared in (
            ("snapshots", _LABEL, labels, self._labels, _label),
            ("api_keys", _KEY, select(ApiKey.id), self._keys, _key),
            ("exports", _EXPORT, select(Export.id), self._exports, self._export),
        ):
            rows = rows_by_key(session, columns, set(session.scalars(named)))
            for id in sorted(rows.keys() - standing.keys()):
                raise RowDiffers(table, id, "no ledger entry tells of it", None)
            for id, found in standing.items():
                index = found.newest.index
                if id in rows:
                    require_equal(table, id, found.newest, iter([*compared(rows[id], found)]))
                else:
                    what = f"ledger entry {index} tells of it, but it is missing"
                    raise RowDiffers(table, id, what, index)

    def _export(self, row: Row[Any], found: _Standing) -> Iterable[Compared]:
        # The file of a revision that was withdrawn is gone, and the row says so.
        return _export(row, found, is_withdrawn=self._withdrawals.covers(row.revision))


def _follow(standing: dict[str, _Standing], id: str, told: Told, *, removed: bool = False) -> None:
    if removed:
        standing.pop(id, None)
    elif id in standing:
        standing[id].newest = told
    else:
        standing[id] = _Standing(told, told)


def _label(row: Row[Any], found: _Standing) -> Iterable[Compared]:
    record = found.made.record
    assert isinstance(record, SnapshotRecord)  # noqa: S101 - see `take`
    yield "revision", row.revision, record.revision
    yield "ledger_index", row.ledger_index, found.made.index
    yield "created_at", row.created_at, found.made.entry.at


def _key(row: Row[Any], found: _Standing) -> Iterable[Compared]:
    record, newest = found.made.record, found.newest.record
    assert isinstance(record, KeyRecord)  # noqa: S101 - see `take`
    assert isinstance(newest, KeyRecord)  # noqa: S101
    yield "scopes", row.scopes, list(record.scopes)
    yield "created_at", row.created_at, found.made.entry.at
    yield "expires_at", row.expires_at, record.expires_at
    yield "ledger_index", row.ledger_index, found.made.index
    yield "revoked_at", row.revoked_at, found.newest.entry.at if newest.revoked else None
    yield "revocation_index", row.revocation_index, found.newest.index if newest.revoked else None


def _export(row: Row[Any], found: _Standing, *, is_withdrawn: bool) -> Iterable[Compared]:
    record, newest = found.made.record, found.newest.record
    assert isinstance(record, ExportRecord)  # noqa: S101 - see `take`
    assert isinstance(newest, ExportRecord)  # noqa: S101
    yield "actor", row.actor, found.made.entry.actor
    yield "format", row.format, record.format
    yield "revision", row.revision, record.revision
    yield "max_rank", row.max_rank, record.max_rank
    yield "created_at", row.created_at, found.made.entry.at
    yield "ledger_index", row.ledger_index, found.made.index
    yield "digest", row.digest, None if is_withdrawn else newest.digest
    yield "size", row.size, None if is_withdrawn else newest.bytes
