"""Brings a database to the schema this code expects, each time the service starts."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

import migrations
from app.database.database import Database
from app.database.tables.schema import metadata


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations this database has not seen, all in one transaction.

    Two processes that start together run them once: the second waits for the write lock.
    """
    with database.write() as session:
        command.upgrade(_config(session.connection()), revision)


def downgrade(database: Database, revision: str) -> None:
    """Undo migrations down to `revision`; `base` undoes all of them."""
    with database.write() as session:
        command.downgrade(_config(session.connection()), revision)


def drift(database: Database) -> list[Any]:
    """What differs between the migrated database and the models; empty when they agree."""
    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
