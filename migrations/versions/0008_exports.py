"""Exports: revisions made into files.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FORMATS = ("merged", "lora", "delta")
_STATES = ("accepted", "running", "finished", "failed")


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("format", _one_of(_FORMATS, "format"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("max_rank", sa.Integer(), nullable=True),
        sa.Column("status", _one_of(_STATES, "status"), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("process", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["revision"], ["revisions.number"]),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_exports_status", "exports", ["status"])


def downgrade() -> None:
    op.drop_table("exports")


def _one_of(names: tuple[str, ...], constraint: str) -> sa.Enum:
    return sa.Enum(*names, name=constraint, native_enum=False, create_constraint=True, length=16)
