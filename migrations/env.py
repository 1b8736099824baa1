"""Alembic's entry: runs migrations on the connection that `app.database.migration` hands over."""

from alembic import context

from app.database.tables.schema import metadata

connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    # Alembic assumes SQLite cannot; it can, since our transactions begin explicitly.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
