"""API keys.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ledger_index", sa.Integer(), nullable=False),
        sa.Column("revocation_index", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["ledger_index"], ["ledger_entries.index"]),
        sa.ForeignKeyConstraint(["revocation_index"], ["ledger_entries.index"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("ledger_index"),
    )
    allow("ledger_entries", "kind", "key")


def downgrade() -> None:
    # The ledger is never shortened, so it goes on allowing the kind.
    op.drop_table("api_keys")
