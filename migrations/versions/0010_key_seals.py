"""API keys are sealed, and the ledger's entries about them can be looked up.

The seal needs the pepper, which no database holds: the first start seals what is there.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ABOUT_KEYS = sa.text("kind = 'key'")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("seal", sa.String(), nullable=True))
    op.create_index(
        "ix_ledger_entries_key_payload",
        "ledger_entries",
        ["payload"],
        sqlite_where=_ABOUT_KEYS,
        postgresql_where=_ABOUT_KEYS,
    )


def downgrade() -> None:
    op.drop_index("ix_ledger_entries_key_payload", "ledger_entries")
    op.drop_column("api_keys", "seal")
