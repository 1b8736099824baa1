"""Changing which names a column may hold, whatever other migrations have allowed before.

Said in SQL: Alembic would copy the table on SQLite, which the ledger's triggers forbid, and which
a table that others refer to cannot be inside a transaction.
"""

import re
from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op


def allow(table: str, column: str, *names: str) -> None:
    """Let the column hold these names, too."""
    _set(table, column, dict.fromkeys([*_allowed(table, column), *names]))


def forbid(table: str, column: str, *names: str) -> None:
    """Let the column hold these names no longer; no row may hold one."""
    _set(table, column, [name for name in _allowed(table, column) if name not in names])


def _allowed(table: str, column: str) -> list[str]:
    constraints = sa.inspect(op.get_bind()).get_check_constraints(table)
    (found,) = (found for found in constraints if found["name"] == f"ck_{table}_{column}")
    return re.findall(r"'(\w+)'", found["sqltext"])


def _set(table: str, column: str, names: Iterable[str]) -> None:
    constraint, listed = f"ck_{table}_{column}", ", ".join(f"'{name}'" for name in names)
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({column} IN ({listed}))")
