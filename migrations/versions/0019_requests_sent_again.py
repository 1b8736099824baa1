"""Idempotency keys for every route that changes something; undoing only on top of a known head.

Revision ID: 0019
Revises: 0018
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_AT_ONCE = 1_000
_ERASED = "erased "  # in front of what is left of a key whose words were erased: its digest
_EDITS, _BATCHES = "POST /v1/edits", "POST /v1/edit-batches"
_COLUMNS = ("actor", "route", "key", "body_digest", "resource", "operation_id", "created_at")
_KEYS = sa.table("idempotency_keys", *(sa.column(name) for name in _COLUMNS))
_KEPT = sa.table("kept_keys", *(sa.column(name) for name in _COLUMNS))


def upgrade() -> None:
    op.add_column("operations", sa.Column("if_head", sa.Integer(), nullable=True))
    # Only edits and batches had keys; a batch is found by its id and not by its first edit's.
    op.execute(
        "CREATE TEMPORARY TABLE kept_keys AS SELECT actor, key, body_digest, "  # noqa: S608
        f"CASE WHEN batch_id IS NULL THEN '{_EDITS}' ELSE '{_BATCHES}' END AS route, "
        "COALESCE(batch_id, operation_id) AS resource, idempotency_keys.created_at "
        "FROM idempotency_keys LEFT JOIN edits ON edits.id = operation_id"
    )
    op.drop_table("idempotency_keys")
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("actor", "route", "key"),
    )
    for name in ("resource", "created_at"):
        op.create_index(f"ix_idempotency_keys_{name}", "idempotency_keys", [name])
    _put_back("actor", "route", "body_digest", "resource", "created_at", key=_digest)


def downgrade() -> None:
    # The release before knows keys of edits and batches only, and has one space for both.
    op.execute(
        "CREATE TEMPORARY TABLE kept_keys AS SELECT * FROM (SELECT actor, key, body_digest, "  # noqa: S608
        "created_at, COALESCE((SELECT id FROM operations WHERE id = resource), "
        "(SELECT MIN(id) FROM edits WHERE batch_id = resource)) AS operation_id, "
        "ROW_NUMBER() OVER (PARTITION BY actor, key ORDER BY created_at, route) AS place "
        f"FROM idempotency_keys WHERE route IN ('{_EDITS}', '{_BATCHES}')) AS numbered "
        "WHERE place = 1 AND operation_id IS NOT NULL"
    )
    op.drop_table("idempotency_keys")
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("operation_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"]),
        sa.PrimaryKeyConstraint("actor", "key"),
    )
    _put_back("actor", "body_digest", "operation_id", "created_at", key=_ERASED.__add__)
    op.drop_column("operations", "if_head")


def _put_back(*names: str, key: Callable[[str], str]) -> None:
    """Fill the new table with what was kept, each key as it is written there."""
    query = sa.select(_KEPT.c.key, *(_KEPT.c[name] for name in names))
    rows = op.get_bind().execute(query.execution_options(yield_per=_AT_ONCE))
    for some in rows.mappings().partitions():
        changed: list[dict[str, Any]] = [{**row, "key": key(row["key"])} for row in some]
        op.get_bind().execute(_KEYS.insert(), changed)
    op.execute("DROP TABLE kept_keys")


def _digest(key: str) -> str:
    if key.startswith(_ERASED):
        return key.removeprefix(_ERASED)
    return sha256(key.encode()).hexdigest()
