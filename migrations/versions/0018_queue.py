"""A queue that can be paused, and operations that are executed alone after a crash.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_UNDOING = sa.text("kind != 'edit'")


def upgrade() -> None:
    op.create_table(
        "queue_state",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO queue_state (id, deaths) VALUES (1, 0)")
    op.add_column(
        "operations", sa.Column("alone", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column(
        "exports", sa.Column("beat", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.create_index(
        "ix_operations_undoing",
        "operations",
        ["status", "seq"],
        sqlite_where=_UNDOING,
        postgresql_where=_UNDOING,
    )
    allow("ledger_entries", "kind", "queue")


def downgrade() -> None:
    # The ledger is never shortened, so it goes on allowing the kind.
    op.drop_index("ix_operations_undoing", "operations")
    op.drop_column("exports", "beat")
    op.drop_column("operations", "alone")
    op.drop_table("queue_state")
