"""Erasing the words of edits; revisions that the database itself refuses to change.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FROZEN = ("revisions", "revision_changes")
_WRITES = ("update", "delete")
_REFUSAL = "revisions are never changed or removed"


def upgrade() -> None:
    op.add_column("edits", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    allow("ledger_entries", "kind", "erasure")
    if _on_postgresql():
        _freeze_revisions_on_postgresql()
    else:
        _freeze_revisions_on_sqlite()


def downgrade() -> None:
    # The ledger goes on accepting erasures: those it holds cannot be taken out of the chain.
    for table in _FROZEN:
        if _on_postgresql():
            op.execute(f"DROP TRIGGER {table}_refuse_write ON {table}")
        else:
            for write in _WRITES:
                op.execute(f"DROP TRIGGER {table}_refuse_{write}")
    if _on_postgresql():
        op.execute("DROP FUNCTION refuse_revision_write()")
    op.drop_column("edits", "erased_at")


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _freeze_revisions_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_revision_write() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for table in _FROZEN:
        op.execute(
            f"CREATE TRIGGER {table}_refuse_write BEFORE UPDATE OR DELETE OR TRUNCATE "
            f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_revision_write()"
        )


def _freeze_revisions_on_sqlite() -> None:
    for table in _FROZEN:
        for write in _WRITES:
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{write} BEFORE {write.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
