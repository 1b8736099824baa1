"""Events: the statuses of edits in the order in which they came about.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STATUSES = (
    "accepted",
    "running",
    "committed",
    "rejected",
    "dead",
    "cancelled",
    "tried",
    "reverted",
    "superseded",
)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("edit_id", sa.String(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                *_STATUSES, name="status", native_enum=False, create_constraint=True, length=16
            ),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"]),
        sa.ForeignKeyConstraint(["revision"], ["revisions.number"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_events_edit_id", "events", ["edit_id"])
    # Of older edits nobody noted when they were what; each begins with what it is now.
    op.execute(
        "INSERT INTO events (edit_id, status, at, revision, reason) "
        "SELECT edits.id, edits.status, COALESCE(finished_at, started_at, created_at), "
        "revision, reason FROM edits JOIN operations ON operations.id = edits.id ORDER BY seq"
    )


def downgrade() -> None:
    op.drop_table("events")
