"""A consistent copy of a SQLite database that others go on writing to."""

import os
from pathlib import Path

import pysqlite3

from app.database.engine import LOCK_TIMEOUT_S


def copy_sqlite(source: Path, target: Path) -> None:
    """Write the database as it is at one moment to a new file, durably.

    Raises:
        FileNotFoundError: There is no such database.
        OSError: It cannot be read, or the disk did not take the copy.
    """
    if not source.exists():
        raise FileNotFoundError(f"there is no database at {source}")
    connection = pysqlite3.connect(source, timeout=LOCK_TIMEOUT_S)
    try:
        connection.execute("VACUUM INTO ?", (str(target),))
    except pysqlite3.Error as error:
        raise OSError(f"the database {source} was not copied to {target}: {error}") from error
    finally:
        connection.close()
    with target.open("rb") as copied:
        os.fsync(copied.fileno())
