"""What a caller has waiting is found through an index.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_operations_actor_status", "operations", ["actor", "status"])


def downgrade() -> None:
    op.drop_index("ix_operations_actor_status", "operations")
