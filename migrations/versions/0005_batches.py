"""Batches, dry runs and limits of an edit's own.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow, forbid

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_HAVE_STATES = ("operations", "edits")


def upgrade() -> None:
    op.create_table(
        "edit_batches",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("atomic", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column(
        "edits", sa.Column("dry_run", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("edits", sa.Column("gates", sa.JSON(), nullable=True))
    for table in _HAVE_STATES:
        allow(table, "status", "tried")


def downgrade() -> None:
    for table in _HAVE_STATES:
        # What was tried changed nothing, as if it had been withdrawn.
        op.execute(f"UPDATE {table} SET status = 'cancelled' WHERE status = 'tried'")  # noqa: S608
        forbid(table, "status", "tried")
    op.drop_column("edits", "gates")
    op.drop_column("edits", "dry_run")
    op.drop_table("edit_batches")
