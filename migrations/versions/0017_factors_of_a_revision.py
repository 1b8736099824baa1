"""Which factors an edit has since a revision, and what a revert was asked to do and measured.

An edit may be given further factors while it stays live, so its factors are the matter of a
revision's change. Statuses of edits that left the head are set to what is true of their successors.

Revision ID: 0017
Revises: 0016
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_FACTORS = (("artefact", sa.String()), ("artefact_index", sa.Integer()))
_WRITES = ("update", "delete")
_REFUSAL = "revisions are never changed or removed"


def upgrade() -> None:
    _create_reverts()
    with _changes_open():
        for name, kind in _FACTORS:
            op.add_column("revision_changes", sa.Column(name, kind, nullable=True))
        _allow("-1, 0, 1")
        op.execute(
            "UPDATE revision_changes SET "
            "artefact = (SELECT artefact FROM edits WHERE edits.id = edit_id), "
            "artefact_index = (SELECT artefact_index FROM edits WHERE edits.id = edit_id) "
            "WHERE change = 1"
        )
    for name, _ in _FACTORS:
        op.drop_column("edits", name)
    _settle_statuses()


def downgrade() -> None:
    # An older release knows one set of factors an edit: the newest.
    for name, kind in _FACTORS:
        op.add_column("edits", sa.Column(name, kind, nullable=True))
        op.execute(
            f"UPDATE edits SET {name} = (SELECT {name} FROM revision_changes "  # noqa: S608
            "WHERE edit_id = edits.id AND change >= 0 ORDER BY revision DESC LIMIT 1)"
        )
    with _changes_open():
        op.execute("DELETE FROM revision_changes WHERE change = 0")
        _allow("-1, 1")
        for name, _ in _FACTORS:
            op.drop_column("revision_changes", name)
    op.drop_table("reverts")


def _create_reverts() -> None:
    op.create_table(
        "reverts",
        sa.Column("operation_id", sa.String(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("restore", sa.Boolean(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"]),
        sa.PrimaryKeyConstraint("operation_id"),
    )
    op.execute(
        "INSERT INTO reverts (operation_id, force, restore, dry_run) "
        "SELECT id, FALSE, FALSE, FALSE FROM operations WHERE kind = 'revert'"
    )


@contextmanager
def _changes_open() -> Iterator[None]:
    """Changes of revisions are frozen by triggers, which make way for a migration."""
    if _on_postgresql():
        op.execute("ALTER TABLE revision_changes DISABLE TRIGGER revision_changes_refuse_write")
        yield
        op.execute("ALTER TABLE revision_changes ENABLE TRIGGER revision_changes_refuse_write")
        return
    for write in _WRITES:
        op.execute(f"DROP TRIGGER revision_changes_refuse_{write}")
    yield
    for write in _WRITES:
        op.execute(
            f"CREATE TRIGGER revision_changes_refuse_{write} BEFORE {write.upper()} "
            f"ON revision_changes BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def _allow(changes: str) -> None:
    constraint = "ck_revision_changes_change"
    op.execute(f"ALTER TABLE revision_changes DROP CONSTRAINT {constraint}")
    op.execute(
        f"ALTER TABLE revision_changes ADD CONSTRAINT {constraint} CHECK (change IN ({changes}))"
    )


def _settle_statuses() -> None:
    """`superseded` only while what took an edit's place, or what took that one's, is live."""
    connection = op.get_bind()
    left = sa.text(
        "SELECT id, supersedes, status, superseded_by FROM edits "
        "WHERE status IN ('committed', 'reverted', 'superseded')"
    )
    rows = {row.id: row for row in connection.execute(left)}
    stands = {id for id, row in rows.items() if row.status == "committed"}
    successor: dict[str, str] = {}
    for id in list(stands):  # down the chain from each edit that is live
        below = rows[id].supersedes
        while below is not None and below not in stands:
            successor[below] = id
            stands.add(below)
            id, below = below, rows[below].supersedes
    change = sa.text("UPDATE edits SET status = :status, superseded_by = :by WHERE id = :id")
    told = sa.text(
        "INSERT INTO events (edit_id, status, at, revision) SELECT :id, :status, "
        "created_at, number FROM revisions ORDER BY number DESC LIMIT 1"
    )
    for id, row in rows.items():
        if row.status == "committed":
            continue
        by = successor.get(id)
        status = "reverted" if by is None else "superseded"
        if (status, by) != (row.status, row.superseded_by):
            connection.execute(change, {"status": status, "by": by, "id": id})
        if status != row.status:
            connection.execute(told, {"status": status, "id": id})


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
