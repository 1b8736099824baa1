"""Batches, dry runs and limits of an edit's own.

Revision ID: 0005
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATES = ("accepted", "running", "committed", "rejected", "dead", "cancelled")
# table → states before
_HAVE_STATES = {"operations": _STATES, "edits": (*_STATES, "reverted", "superseded")}


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
    for table, states in _HAVE_STATES.items():
        _allow(table, was=states, now=(*states, "tried"))


def downgrade() -> None:
    for table, states in _HAVE_STATES.items():
        # What was tried changed nothing, as if it had been withdrawn.
        op.execute(f"UPDATE {table} SET status = 'cancelled' WHERE status = 'tried'")  # noqa: S608
        _allow(table, was=(*states, "tried"), now=states)
    op.drop_column("edits", "gates")
    op.drop_column("edits", "dry_run")
    op.drop_table("edit_batches")


def _allow(table: str, *, was: tuple[str, ...], now: tuple[str, ...]) -> None:
    """Replace the states that a table's CHECK allows."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(f"ck_{table}_status"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_status"), table, f"status IN ({_listed(now)})")
        return
    # SQLite cannot alter a CHECK, and a table that others refer to cannot be made anew inside a
    # transaction; lang_altertable.html documents this way for checks that hold what is stored.
    # Other connections read the schema anew because tables and columns change beside it.
    op.execute("PRAGMA writable_schema = ON")
    changed = op.get_bind().execute(
        sa.text(
            "UPDATE sqlite_schema SET sql = replace(sql, :was, :now) "
            "WHERE type = 'table' AND name = :name AND instr(sql, :was)"
        ),
        {"name": table, "was": f"status IN ({_listed(was)})", "now": f"status IN ({_listed(now)})"},
    )
    op.execute("PRAGMA writable_schema = RESET")
    if changed.rowcount != 1:
        raise RuntimeError(f"table {table} has no check of its status to change")


def _listed(states: tuple[str, ...]) -> str:
    return ", ".join(f"'{state}'" for state in states)
