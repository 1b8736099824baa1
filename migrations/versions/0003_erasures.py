"""Erasing the words of edits; revisions that the database itself refuses to change.

Revision ID: 0003
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

_KINDS = ("base", "operation", "revision", "verdict", "erasure")
_FROZEN = ("revisions", "revision_changes")
_WRITES = ("update", "delete")
_REFUSAL = "revisions are never changed or removed"
_LEDGER_REFUSAL = "ledger entries are never changed or removed"


def upgrade() -> None:
    op.add_column("edits", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    if _on_postgresql():
        _widen_kinds_on_postgresql()
        _freeze_revisions_on_postgresql()
    else:
        _widen_kinds_on_sqlite()
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


def _widen_kinds_on_postgresql() -> None:
    listed = ", ".join(f"'{kind}'" for kind in _KINDS)
    op.execute("ALTER TABLE ledger_entries DROP CONSTRAINT ck_ledger_entries_kind")
    op.execute(
        "ALTER TABLE ledger_entries ADD CONSTRAINT ck_ledger_entries_kind "
        f"CHECK (kind IN ({listed}))"
    )


def _widen_kinds_on_sqlite() -> None:
    """SQLite cannot change a CHECK, so the table is made again, with its triggers.

    Rows go back in after the new table has the old one's name: only then do the rows that refer
    to them count as whole again, which the end of the transaction checks.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE kept_entries AS SELECT * FROM ledger_entries")
    op.drop_table("ledger_entries")
    kind = sa.Enum(*_KINDS, name="kind", native_enum=False, create_constraint=True, length=16)
    op.create_table(
        "ledger_entries",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", kind, nullable=False),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("payload", "actor", "at", "prev_hash", "hash")
        ),
        sa.PrimaryKeyConstraint("index"),
    )
    columns = '"index", kind, payload, actor, at, prev_hash, hash'
    op.execute(f"INSERT INTO ledger_entries ({columns}) SELECT {columns} FROM kept_entries")  # noqa: S608 - fixed names
    op.execute("DROP TABLE kept_entries")
    for write in _WRITES:
        _refuse_on_sqlite("ledger_entries", f"ledger_refuse_{write}", write, _LEDGER_REFUSAL)


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
            _refuse_on_sqlite(table, f"{table}_refuse_{write}", write, _REFUSAL)


def _refuse_on_sqlite(table: str, trigger: str, write: str, why: str) -> None:
    op.execute(
        f"CREATE TRIGGER {trigger} BEFORE {write.upper()} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
    )
