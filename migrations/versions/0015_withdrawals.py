"""Withdrawn revisions, in a table that the database itself refuses to change.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

from migrations.checks import allow

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_WHY = ("erasure", "legal", "harm")
_WRITES = ("update", "delete")
_REFUSAL = "withdrawals are never changed or removed"


def upgrade() -> None:
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("edit_id", sa.String(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column(
            "why",
            sa.Enum(*_WHY, name="why", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ledger_index", sa.Integer(), nullable=False),
        sa.CheckConstraint("first > 0 AND first <= last", name="order"),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"]),
        sa.ForeignKeyConstraint(["first"], ["revisions.number"]),
        sa.ForeignKeyConstraint(["last"], ["revisions.number"]),
        sa.ForeignKeyConstraint(["ledger_index"], ["ledger_entries.index"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_withdrawals_edit_id", "withdrawals", ["edit_id"])
    op.create_index("ix_withdrawals_last", "withdrawals", ["last"])
    allow("ledger_entries", "kind", "withdrawal")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_withdrawal_write() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER withdrawals_refuse_write BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON withdrawals FOR EACH STATEMENT EXECUTE FUNCTION refuse_withdrawal_write()"
        )
    else:
        for write in _WRITES:
            op.execute(
                f"CREATE TRIGGER withdrawals_refuse_{write} BEFORE {write.upper()} ON withdrawals "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )


def downgrade() -> None:
    # The ledger is never shortened, so it goes on allowing the kind.
    op.drop_table("withdrawals")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_withdrawal_write()")
