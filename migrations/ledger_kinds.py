"""Widening what the ledger may record, whatever other migrations have allowed before."""

import re

import sqlalchemy as sa
from alembic import op

_CONSTRAINT = "ck_ledger_entries_kind"


def allow(*kinds: str) -> None:
    """Let ledger entries be of these kinds, too."""
    constraints = sa.inspect(op.get_bind()).get_check_constraints("ledger_entries")
    (before,) = (found for found in constraints if found["name"] == _CONSTRAINT)
    allowed = dict.fromkeys([*re.findall(r"'(\w+)'", before["sqltext"]), *kinds])
    names = ", ".join(f"'{kind}'" for kind in allowed)
    # Said in SQL: Alembic would copy the table on SQLite, and its triggers forbid the removal.
    op.execute(f"ALTER TABLE ledger_entries DROP CONSTRAINT {_CONSTRAINT}")
    op.execute(f"ALTER TABLE ledger_entries ADD CONSTRAINT {_CONSTRAINT} CHECK (kind IN ({names}))")
