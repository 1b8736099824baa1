"""Ledger entries that tell of another recipe.

Revision ID: 0017
Revises: 0016
"""

from migrations.checks import allow

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    allow("ledger_entries", "kind", "recipe")


def downgrade() -> None:
    """The ledger is never shortened, so it goes on allowing the kind."""
