"""The schema of the first release. From that release on, a change of it is a migration of its own.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ENTRIES = (
    "base",
    "operation",
    "revision",
    "verdict",
    "snapshot",
    "erasure",
    "withdrawal",
    "key",
    "export",
    "queue",
    "recipe",
    "setback",
)
_KINDS = ("edit", "revert", "rollback")
_OPERATION_STATES = (
    "accepted",
    "running",
    "committed",
    "rejected",
    "dead",
    "cancelled",
    "tried",
)
_EDIT_STATES = (*_OPERATION_STATES, "reverted", "superseded")
_LABELLED = "NOT automatic AND label IS NOT NULL AND ledger_index IS NOT NULL"
_AUTOMATIC = "automatic AND label IS NULL AND ledger_index IS NULL AND digest IS NOT NULL"
_ENTRY = "ledger_entries.index"
#: tables whose rows the database itself refuses to change or remove, and what it calls them
_FROZEN = {
    "ledger_entries": "ledger entries",
    "revisions": "revisions",
    "revision_changes": "revisions",
    "withdrawals": "withdrawals",
}
_TABLES = (
    "withdrawals",
    "revision_changes",
    "events",
    "edit_texts",
    "edits",
    "reverts",
    "erasures",
    "snapshots",
    "exports",
    "operations",
    "revisions",
    "api_keys",
    "idempotency_keys",
    "edit_batches",
    "queue_state",
    "writer_lease",
    "ledger_entries",
)


def upgrade() -> None:
    _create_ledger()
    _create_state_of_the_writer()
    _create_revisions()
    _create_operations()
    _create_edits()
    _create_events()
    _create_keys()
    _create_snapshots_and_exports()
    for table, rows in _FROZEN.items():
        _freeze(table, f"{rows} are never changed or removed")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    if _on_postgresql():
        for table in _FROZEN:
            op.execute(f"DROP FUNCTION refuse_write_of_{table}()")


def _one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def _names(name: str, values: tuple[str, ...]) -> sa.Column[str]:
    return sa.Column(name, _one_of(name, *values), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    """A primary key that the service counts itself."""
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _json(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _refers(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target])


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _partial_index(
    name: str, table: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        _number("index"),
        _names("kind", _ENTRIES),
        _text("payload"),
        _text("actor"),
        _text("at"),
        _text("prev_hash"),
        _text("hash"),
        sa.PrimaryKeyConstraint("index"),
    )
    _partial_index("ix_ledger_entries_key_payload", "ledger_entries", ["payload"], "kind = 'key'")


def _create_state_of_the_writer() -> None:
    op.create_table(
        "writer_lease",
        _number("id"),
        _text("holder", nullable=True),
        _integer("fence"),
        _integer("beat"),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO writer_lease (id, fence, beat) VALUES (1, 0, 0)")
    op.create_table(
        "queue_state",
        _number("id"),
        _moment("paused_at", nullable=True),
        _text("paused_by", nullable=True),
        _text("reason", nullable=True),
        _integer("deaths"),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO queue_state (id, deaths) VALUES (1, 0)")


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        _number("number"),
        _integer("parent", nullable=True),
        _names("kind", ("base", *_KINDS)),
        _text("operation", nullable=True),
        _text("weights_digest"),
        _text("artefact_digest", nullable=True),
        _integer("live_edits"),
        _moment("created_at"),
        _integer("ledger_index"),
        _json("report", nullable=False),
        sa.CheckConstraint("number = 0 AND parent IS NULL OR parent = number - 1", name="linear"),
        _refers("parent", "revisions.number"),
        _refers("ledger_index", _ENTRY),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("parent"),
        sa.UniqueConstraint("ledger_index"),
    )


def _create_operations() -> None:
    op.create_table(
        "operations",
        _text("id"),
        _integer("seq"),
        _names("kind", _KINDS),
        _names("status", _OPERATION_STATES),
        _moment("created_at"),
        _text("actor"),
        _integer("ledger_index"),
        _text("reason", nullable=True),
        _integer("attempts"),
        _flag("alone"),
        _moment("started_at", nullable=True),
        _moment("finished_at", nullable=True),
        _integer("revision", nullable=True),
        _integer("to_revision", nullable=True),
        _text("target_edit", nullable=True),
        _integer("if_head", nullable=True),
        _refers("ledger_index", _ENTRY),
        _refers("revision", "revisions.number"),
        _refers("to_revision", "revisions.number"),
        _refers("target_edit", "operations.id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seq"),
    )
    _index("operations", "status", "seq")
    _index("operations", "actor", "status")
    _partial_index("ix_operations_undoing", "operations", ["status", "seq"], "kind != 'edit'")
    op.create_table(
        "reverts",
        _text("operation_id"),
        _flag("force"),
        _flag("restore"),
        _flag("dry_run"),
        _json("report"),
        _refers("operation_id", "operations.id"),
        sa.PrimaryKeyConstraint("operation_id"),
    )
    op.create_table(
        "erasures",
        _text("operation_id"),
        _moment("begun_at"),
        _text("mark", nullable=True),
        _moment("done_at", nullable=True),
        _refers("operation_id", "operations.id"),
        sa.PrimaryKeyConstraint("operation_id"),
    )
    _partial_index("ix_erasures_pending", "erasures", ["operation_id"], "done_at IS NULL")


def _create_edits() -> None:
    op.create_table(
        "edit_batches",
        _text("id"),
        _flag("atomic"),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "edits",
        _text("id"),
        _text("method"),
        _flag("force"),
        _names("status", _EDIT_STATES),
        _text("text_digest"),
        _flag("dry_run"),
        _json("gates"),
        _text("batch_id", nullable=True),
        _text("supersedes", nullable=True),
        _text("superseded_by", nullable=True),
        _json("report"),
        _moment("erased_at", nullable=True),
        _refers("id", "operations.id"),
        _refers("supersedes", "edits.id"),
        _refers("superseded_by", "edits.id"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "edit_texts",
        _text("edit_id"),
        _text("salt"),
        _json("content", nullable=False),
        _text("subject_digest"),
        _text("fact_digest"),
        _text("look_digest"),
        _refers("edit_id", "edits.id"),
        sa.PrimaryKeyConstraint("edit_id"),
    )
    op.create_table(
        "revision_changes",
        _integer("revision"),
        _text("edit_id"),
        _integer("change"),
        _text("artefact", nullable=True),
        _integer("artefact_index", nullable=True),
        sa.CheckConstraint("change IN (-1, 0, 1)", name="change"),
        _refers("revision", "revisions.number"),
        _refers("edit_id", "edits.id"),
        sa.PrimaryKeyConstraint("revision", "edit_id"),
    )
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("edit_id"),
        _integer("first"),
        _integer("last"),
        _names("why", ("erasure", "legal", "harm")),
        _moment("withdrawn_at"),
        _integer("ledger_index"),
        sa.CheckConstraint("first > 0 AND first <= last", name="order"),
        _refers("edit_id", "edits.id"),
        _refers("first", "revisions.number"),
        _refers("last", "revisions.number"),
        _refers("ledger_index", _ENTRY),
        sa.PrimaryKeyConstraint("id"),
    )
    for table, columns in (
        ("edits", ("status", "batch_id", "supersedes")),
        ("edit_texts", ("subject_digest", "fact_digest", "look_digest")),
        ("revision_changes", ("edit_id",)),
        ("withdrawals", ("edit_id", "last")),
    ):
        for column in columns:
            _index(table, column)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), nullable=False),
        _text("operation_id"),
        _names("status", _EDIT_STATES),
        _moment("at"),
        _integer("revision", nullable=True),
        _text("reason", nullable=True),
        _refers("operation_id", "operations.id"),
        _refers("revision", "revisions.number"),
        sa.PrimaryKeyConstraint("number"),
    )
    _index("events", "operation_id")


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        _text("id"),
        _text("digest"),
        _text("name", nullable=True),
        _json("scopes", nullable=False),
        _moment("created_at"),
        _moment("expires_at", nullable=True),
        _text("seal"),
        _integer("ledger_index"),
        _moment("last_used_at", nullable=True),
        _moment("revoked_at", nullable=True),
        _integer("revocation_index", nullable=True),
        _refers("ledger_index", _ENTRY),
        _refers("revocation_index", _ENTRY),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("ledger_index"),
    )
    op.create_table(
        "idempotency_keys",
        _text("actor"),
        _text("route"),
        _text("key"),
        _text("body_digest"),
        _text("resource"),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("actor", "route", "key"),
    )
    _index("idempotency_keys", "resource")
    _index("idempotency_keys", "created_at")


def _create_snapshots_and_exports() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False),
        _integer("revision"),
        _text("label", nullable=True),
        _text("digest", nullable=True),
        _moment("created_at"),
        _flag("automatic"),
        _integer("ledger_index", nullable=True),
        sa.CheckConstraint(f"{_AUTOMATIC} OR {_LABELLED}", name="kind"),
        _refers("revision", "revisions.number"),
        _refers("ledger_index", _ENTRY),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("label"),
    )
    _index("snapshots", "revision")
    _partial_index("uq_snapshots_automatic", "snapshots", ["revision"], "automatic", unique=True)
    op.create_table(
        "exports",
        sa.Column("number", sa.Integer(), nullable=False),
        _text("id"),
        _names("format", ("merged", "lora", "delta")),
        _integer("revision"),
        _integer("max_rank", nullable=True),
        _names("status", ("accepted", "running", "finished", "failed")),
        _text("actor"),
        _moment("created_at"),
        sa.Column("progress", sa.Double(), nullable=False),
        _integer("attempts"),
        _text("process", nullable=True),
        _integer("beat"),
        sa.Column("size", sa.BigInteger(), nullable=True),
        _text("digest", nullable=True),
        _text("reason", nullable=True),
        _json("warnings", nullable=False),
        _moment("finished_at", nullable=True),
        _integer("ledger_index"),
        _refers("revision", "revisions.number"),
        _refers("ledger_index", _ENTRY),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
    _index("exports", "status")


def _freeze(table: str, refusal: str) -> None:
    if _on_postgresql():
        op.execute(
            f"CREATE FUNCTION refuse_write_of_{table}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_refuse_write BEFORE UPDATE OR DELETE OR TRUNCATE "
            f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_write_of_{table}()"
        )
        return
    for write in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_{write} BEFORE {write.upper()} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
        )


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
