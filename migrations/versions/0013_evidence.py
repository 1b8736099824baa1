"""Exports and accepted set-backs in the ledger.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

from migrations.checks import allow

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KEY = "fk_exports_ledger_index_ledger_entries"


def upgrade() -> None:
    allow("ledger_entries", "kind", "export", "setback")
    # In SQL: Alembic adds no constraint to a table of SQLite that is there. Exports from before
    # are in no entry.
    op.execute(
        f"ALTER TABLE exports ADD COLUMN ledger_index INTEGER CONSTRAINT {_KEY} "
        'REFERENCES ledger_entries ("index")'
    )


def downgrade() -> None:
    # The ledger is never shortened, so it goes on allowing the kinds.
    op.execute("ALTER TABLE exports DROP COLUMN ledger_index")
