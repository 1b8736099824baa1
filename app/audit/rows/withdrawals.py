"""Withdrawals against the entries that tell of them, in both directions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.rows.reading import Compared, Told, require_equal
from app.database.tables.withdrawals import Withdrawal
from app.ledger.differing import RowDiffers
from app.ledger.records import WithdrawalRecord

_COLUMNS = (
    Withdrawal.ledger_index,
    Withdrawal.edit_id,
    Withdrawal.first,
    Withdrawal.last,
    Withdrawal.why,
    Withdrawal.withdrawn_at,
)


class WithdrawalRows:
    """Follows the ledger, and compares at its end: there are few withdrawals."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}

    def take(self, told: Told) -> None:
        """Note an entry that tells of a withdrawal."""
        self._told[told.index] = told

    def covers(self, revision: int) -> bool:
        """Whether a revision was withdrawn."""
        spans = (span for told in self._told.values() for span in _record(told).revisions)
        return any(first <= revision <= last for first, last in spans)

    def finish(self, session: Session) -> None:
        """All entries there are have been taken.

        Raises:
            RowDiffers: A row is another, is missing, or no entry tells of it.
        """
        rows = defaultdict[int, list[Any]](list)
        for row in session.execute(select(*_COLUMNS).order_by(Withdrawal.first)):
            rows[row.ledger_index].append(row)
        for index in sorted(rows.keys() - self._told.keys()):
            edit = rows[index][0].edit_id
            raise RowDiffers("withdrawals", edit, "no ledger entry tells of it", None)
        for index, told in self._told.items():
            compared = _compared(rows.get(index, []), told)
            require_equal("withdrawals", _record(told).edit, told, compared)


def _record(told: Told) -> WithdrawalRecord:
    assert isinstance(told.record, WithdrawalRecord)  # noqa: S101 - see `take`
    return told.record


def _compared(rows: Sequence[Any], told: Told) -> Iterator[Compared]:
    record = _record(told)
    yield "revisions", tuple((row.first, row.last) for row in rows), record.revisions
    for row in rows:
        yield "edit_id", row.edit_id, record.edit
        yield "why", row.why, record.why
        yield "withdrawn_at", row.withdrawn_at, told.entry.at
