"""Snapshots: revisions kept whole, with and without a label.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LABELLED = "NOT automatic AND label IS NOT NULL AND ledger_index IS NOT NULL"
_AUTOMATIC = "automatic AND label IS NULL AND ledger_index IS NULL AND digest IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("ledger_index", sa.Integer(), nullable=True),
        sa.CheckConstraint(f"{_AUTOMATIC} OR {_LABELLED}", name="kind"),
        sa.ForeignKeyConstraint(["revision"], ["revisions.number"]),
        sa.ForeignKeyConstraint(["ledger_index"], ["ledger_entries.index"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("label"),
    )
    op.create_index("ix_snapshots_revision", "snapshots", ["revision"])
    op.create_index(
        "uq_snapshots_automatic",
        "snapshots",
        ["revision"],
        unique=True,
        sqlite_where=sa.text("automatic"),
        postgresql_where=sa.text("automatic"),
    )
    allow("ledger_entries", "kind", "snapshot")


def downgrade() -> None:
    # The ledger is never shortened, so it goes on allowing the kind.
    op.drop_table("snapshots")
