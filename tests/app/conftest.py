"""Real databases, a real service without a model, and a real worker on a tiny one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.database.database import Database
from app.database.migration import upgrade
from app.ledger.artefacts import ArtefactStore
from app.settings import Settings
from editing_core.model.loading import LoadedModel
from editing_core.model.opening import open_model, open_tokenizer
from tests.support.history import History
from tests.support.postgres import new_schema
from tests.support.service import running
from tests.support.tiny import build_tiny_model
from tests.support.worker_service import EditorFactory, Service, working


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'errata.db'}"
    return new_schema(request.getfixturevalue("postgres_server"))


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def editor_of(tiny_model: LoadedModel) -> EditorFactory:
    return EditorFactory(tiny_model)


@pytest.fixture
def service(
    tmp_path: Path, tiny_model: LoadedModel, editor_of: EditorFactory, one_thread: None
) -> Iterator[Service]:
    del one_thread
    with working(tmp_path, tiny_model, editor_of()) as service:
        yield service


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = open_model(tiny_folder).eval()
    return model


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    tokenizer: Tokenizer = open_tokenizer(tiny_folder)
    return tokenizer
