"""Ledger entries that tell of another recipe.

Revision ID: 0020
Revises: 0019
"""

from migrations.checks import allow

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    allow("ledger_entries", "kind", "recipe")


def downgrade() -> None:
    """The ledger is never shortened, so it goes on allowing the kind."""
