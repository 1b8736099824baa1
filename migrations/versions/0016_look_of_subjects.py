"""Subjects by their look; digests of subjects and facts that no encoding of a text changes.

Revision ID: 0016
Revises: 0015
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from app.edits.text import EditText, fact_digest, look_digest, subject_digest

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_AT_ONCE = 1_000
_DIGESTS = ("subject_digest", "fact_digest", "look_digest")
_TEXTS = sa.table(
    "edit_texts",
    sa.column("edit_id", sa.String()),
    sa.column("content", sa.JSON()),
    *(sa.column(name, sa.String()) for name in _DIGESTS),
)


def upgrade() -> None:
    op.add_column(
        "edit_texts", sa.Column("look_digest", sa.String(), nullable=False, server_default="")
    )
    # By the functions that the service compares with: what counts is that both agree.
    update = (
        _TEXTS.update()
        .where(_TEXTS.c.edit_id == sa.bindparam("id"))
        .values({name: sa.bindparam(name) for name in _DIGESTS})
    )
    for page in _pages():
        op.get_bind().execute(update, [{"id": id, **_digests(text)} for id, text in page])
    op.create_index("ix_edit_texts_look_digest", "edit_texts", ["look_digest"])


def downgrade() -> None:
    # The other digests stay as they are: only words written in unusual ways have another one.
    op.drop_index("ix_edit_texts_look_digest", "edit_texts")
    op.drop_column("edit_texts", "look_digest")


def _digests(text: EditText) -> dict[str, str]:
    return {
        "subject_digest": subject_digest(text.subject),
        "fact_digest": fact_digest(text.subject, text.template),
        "look_digest": look_digest(text.subject),
    }


def _pages() -> Iterator[list[tuple[str, EditText]]]:
    last = ""
    while True:
        query = (
            sa.select(_TEXTS.c.edit_id, _TEXTS.c.content)
            .where(_TEXTS.c.edit_id > last)
            .order_by(_TEXTS.c.edit_id)
            .limit(_AT_ONCE)
        )
        rows = op.get_bind().execute(query).all()
        if not rows:
            return
        yield [(edit_id, EditText.from_json(content)) for edit_id, content in rows]
        last = rows[-1].edit_id
