"""Erasures that are done only when the words have left the database's files.

Revision ID: 0014
Revises: 0013
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_PENDING = sa.text("done_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("operation_id", sa.String(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mark", sa.String(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"]),
        sa.PrimaryKeyConstraint("operation_id"),
    )
    op.create_index(
        "ix_erasures_pending",
        "erasures",
        ["operation_id"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    # Earlier releases did not look whether the words had left the files: these are pending again.
    edits = sa.table("edits", sa.column("id"), sa.column("erased_at"))
    erasures = sa.table(
        "erasures", sa.column("operation_id"), sa.column("begun_at"), sa.column("mark")
    )
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    mark = sa.cast(sa.func.pg_current_xact_id(), sa.String) if on_postgresql else sa.null()
    op.execute(
        sa.insert(erasures).from_select(
            ["operation_id", "begun_at", "mark"],
            sa.select(edits.c.id, edits.c.erased_at, mark).where(edits.c.erased_at.is_not(None)),
        )
    )
    _forget_keys()


def _forget_keys() -> None:
    """Do to the idempotency keys of erased edits what erasing does to them from now on."""
    keys = sa.table("idempotency_keys", sa.column("key"), sa.column("body_digest"))
    connection = op.get_bind()
    for key in connection.scalars(sa.select(keys.c.key).where(keys.c.body_digest == "")).all():
        digest = hashlib.sha256(key.encode()).hexdigest()
        connection.execute(sa.update(keys).where(keys.c.key == key).values(key=f"erased {digest}"))


def downgrade() -> None:
    op.drop_table("erasures")
