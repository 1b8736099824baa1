"""First schema: ledger, revisions, operations, edits and their text.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "revision_changes",
    "edit_texts",
    "idempotency_keys",
    "edits",
    "operations",
    "revisions",
    "ledger_entries",
)
_WRITES = ("UPDATE", "DELETE")


def upgrade() -> None:
    _create_ledger()
    _create_revisions()
    _create_operations()
    _create_edits()
    _create_changes()
    _guard_ledger()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_ledger_write()")


def _one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _refers(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target])


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "kind", _one_of("kind", "base", "operation", "revision", "verdict"), nullable=False
        ),
        _text("payload"),
        _text("actor"),
        _text("at"),
        _text("prev_hash"),
        _text("hash"),
        sa.PrimaryKeyConstraint("index"),
    )


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        _integer("parent", nullable=True),
        sa.Column("kind", _one_of("kind", "base", "edit", "revert", "rollback"), nullable=False),
        _text("operation", nullable=True),
        _text("weights_digest"),
        _text("artefact_digest", nullable=True),
        _integer("live_edits"),
        _moment("created_at"),
        _integer("ledger_index"),
        sa.CheckConstraint("number = 0 AND parent IS NULL OR parent = number - 1", name="linear"),
        _refers("parent", "revisions.number"),
        _refers("ledger_index", "ledger_entries.index"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("parent"),
        sa.UniqueConstraint("ledger_index"),
    )


def _create_operations() -> None:
    states = ("accepted", "running", "committed", "rejected", "dead", "cancelled")
    op.create_table(
        "operations",
        _text("id"),
        _integer("seq"),
        sa.Column("kind", _one_of("kind", "edit", "revert", "rollback"), nullable=False),
        sa.Column("status", _one_of("status", *states), nullable=False),
        _moment("created_at"),
        _text("actor"),
        _integer("ledger_index"),
        _text("reason", nullable=True),
        _integer("attempts"),
        _moment("started_at", nullable=True),
        _moment("finished_at", nullable=True),
        _integer("revision", nullable=True),
        _integer("to_revision", nullable=True),
        _text("target_edit", nullable=True),
        _refers("ledger_index", "ledger_entries.index"),
        _refers("revision", "revisions.number"),
        _refers("to_revision", "revisions.number"),
        _refers("target_edit", "operations.id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seq"),
    )
    op.create_index("ix_operations_status_seq", "operations", ["status", "seq"])
    op.create_table(
        "idempotency_keys",
        _text("key"),
        _text("body_digest"),
        _text("operation_id"),
        _moment("created_at"),
        _refers("operation_id", "operations.id"),
        sa.PrimaryKeyConstraint("key"),
    )


def _create_edits() -> None:
    operation_states = ("accepted", "running", "committed", "rejected", "dead", "cancelled")
    states = (*operation_states, "reverted", "superseded")
    op.create_table(
        "edits",
        _text("id"),
        _text("method"),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("status", _one_of("status", *states), nullable=False),
        _text("text_digest"),
        _text("batch_id", nullable=True),
        _text("supersedes", nullable=True),
        _text("superseded_by", nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        _text("artefact", nullable=True),
        _integer("artefact_index", nullable=True),
        _refers("id", "operations.id"),
        _refers("supersedes", "edits.id"),
        _refers("superseded_by", "edits.id"),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("status", "batch_id", "supersedes"):
        op.create_index(f"ix_edits_{column}", "edits", [column])
    op.create_table(
        "edit_texts",
        _text("edit_id"),
        _text("salt"),
        sa.Column("content", sa.JSON(), nullable=False),
        _text("subject_digest"),
        _text("fact_digest"),
        _refers("edit_id", "edits.id"),
        sa.PrimaryKeyConstraint("edit_id"),
    )
    for column in ("subject_digest", "fact_digest"):
        op.create_index(f"ix_edit_texts_{column}", "edit_texts", [column])


def _create_changes() -> None:
    op.create_table(
        "revision_changes",
        _integer("revision"),
        _text("edit_id"),
        _integer("change"),
        sa.CheckConstraint("change IN (-1, 1)", name="change"),
        _refers("revision", "revisions.number"),
        _refers("edit_id", "edits.id"),
        sa.PrimaryKeyConstraint("revision", "edit_id"),
    )
    op.create_index("ix_revision_changes_edit_id", "revision_changes", ["edit_id"])


def _guard_ledger() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_ledger_write() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'ledger entries are never changed or removed'; END $$"
        )
        op.execute(
            "CREATE TRIGGER ledger_refuse_write BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_write()"
        )
        return
    for write in _WRITES:
        op.execute(
            f"CREATE TRIGGER ledger_refuse_{write.lower()} BEFORE {write} ON ledger_entries "
            "BEGIN SELECT RAISE(ABORT, 'ledger entries are never changed or removed'); END"
        )
