"""Reading rows that somebody may have tampered with, and saying which one is not as told."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.kit.clock import rfc3339
from app.ledger.chain import Link
from app.ledger.differing import RowDiffers
from app.ledger.records import Record

_AT_ONCE = 1_000  # ids in one query: databases have a limit
_UNREADABLE = (LookupError, ValueError, TypeError)

Compared = tuple[str, object, object]
"""A column's name, what it holds, and what it should."""

Columns = tuple[InstrumentedAttribute[Any], ...]


@dataclass(frozen=True)
class Told:
    """An entry that holds in itself, and what it says.

    Attributes:
        entry: The entry.
        record: Its payload, as far as this release knows the kind.
    """

    entry: Link
    record: Record | None

    @property
    def index(self) -> int:
        """Its place in the chain."""
        return self.entry.index


def rows_by_key(
    session: Session, columns: Columns, keys: Collection[object]
) -> dict[Any, Row[Any]]:
    """Rows by their first column, for these values of it.

    Raises:
        RowDiffers: One holds what its columns cannot.
    """
    found, waiting = dict[Any, Row[Any]](), iter(sorted(keys, key=str))
    while some := list(islice(waiting, _AT_ONCE)):
        found.update(_rows(session, columns, some))
    return found


def _rows(session: Session, columns: Columns, keys: list[object]) -> dict[Any, Row[Any]]:
    try:
        query: Select[Any] = select(*columns).where(columns[0].in_(keys))
        return {row[0]: row for row in session.execute(query)}
    except (*_UNREADABLE, OperationalError) as error:
        _require_undecodable(error)
        if len(keys) == 1:
            raise RowDiffers(
                columns[0].class_.__tablename__, keys[0], "it cannot be read", None
            ) from error
    for key in keys:  # the first that cannot be read ends it
        _rows(session, columns, [key])
    raise AssertionError("each row can be read, but not all of them together")


def keys_after(
    session: Session, column: InstrumentedAttribute[int], after: int, limit: int
) -> list[int]:
    """Up to `limit` values of a column above `after`, in order."""
    return list(session.scalars(select(column).where(column > after).order_by(column).limit(limit)))


def require(holds: bool, table: str, id: object, what: str, index: int | None) -> None:
    """Go on where something holds.

    Raises:
        RowDiffers: It does not.
    """
    if not holds:
        raise RowDiffers(table, id, what, index)


def require_equal(table: str, id: object, told: Told, compared: Iterator[Compared]) -> None:
    """Compare columns with what an entry says.

    Raises:
        RowDiffers: One differs; what it holds is not repeated, since it may be anything.
    """
    for name, found, expected in compared:
        if isinstance(found, datetime):
            found = rfc3339(found)
        require(
            found == expected,
            table,
            id,
            f"{name} is not what ledger entry {told.index} says",
            told.index,
        )


def _require_undecodable(error: Exception) -> None:
    # An outage is none of the row's fault; SQLite's driver reports bytes that are no text as one.
    if isinstance(error, OperationalError) and "decode" not in str(error):
        raise error
