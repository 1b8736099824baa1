"""An idempotency key is its caller's own: two callers may use the same one.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COLUMNS = "key, body_digest, operation_id, created_at"


def upgrade() -> None:
    op.execute(
        "CREATE TEMPORARY TABLE kept_keys AS SELECT actor, key, body_digest, operation_id, "
        "idempotency_keys.created_at FROM idempotency_keys "
        "JOIN operations ON operations.id = operation_id"
    )
    _create("actor", "key")
    op.execute(
        f"INSERT INTO idempotency_keys (actor, {_COLUMNS}) SELECT actor, {_COLUMNS} FROM kept_keys"  # noqa: S608
    )
    op.execute("DROP TABLE kept_keys")


def downgrade() -> None:
    # Of several callers' equal keys the one that was used first stays, as if it had been alone.
    op.execute(
        f"CREATE TEMPORARY TABLE kept_keys AS SELECT {_COLUMNS} FROM (SELECT *, "  # noqa: S608
        "ROW_NUMBER() OVER (PARTITION BY key ORDER BY created_at, actor) AS place "
        "FROM idempotency_keys) AS numbered WHERE place = 1"
    )
    _create("key")
    op.execute(
        f"INSERT INTO idempotency_keys ({_COLUMNS}) SELECT {_COLUMNS} FROM kept_keys"  # noqa: S608
    )
    op.execute("DROP TABLE kept_keys")


def _create(*primary: str) -> None:
    op.drop_table("idempotency_keys")
    own = [sa.Column("actor", sa.String(), nullable=False)] if "actor" in primary else []
    op.create_table(
        "idempotency_keys",
        *own,
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("operation_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"]),
        sa.PrimaryKeyConstraint(*primary),
    )
