"""The whole service around a tiny model that has three revisions and no worker."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openai import OpenAI
from torch import Tensor

from app.cli.serve import StreamingServer, http_config
from app.database.tables.labels import Snapshot
from app.deps.services import Services
from app.errors import UnknownRevision
from app.kit.clock import Clock, utc_now
from app.main import Components, create_app
from app.operations.once import Once
from app.resident.resident import Resident
from app.settings import Settings
from editing_core.model.loading import LoadedModel, load_model
from tests.support.local_client import local_client
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

HEAD = 2
_EDITED_LAYER = 1
_READY_S = 30.0


@dataclass(frozen=True)
class ReadOnlyRuntime:
    """A resident model that nobody edits."""

    resident: Resident
    contexts: tuple[str, ...] = ("{}",)
    preparation: None = None

    def take_snapshot(self, revision: int, label: str, once: Once) -> tuple[Snapshot, bool]:
        """No test here asks for one."""
        raise NotImplementedError

    def stop(self, timeout_s: float) -> None:
        """Nothing runs."""


class Weights:
    """The edited matrix of the tiny model at each of its revisions."""

    def __init__(self, base: LoadedModel) -> None:
        name = base.architecture.parameter(_EDITED_LAYER)
        self._base = base.model.get_parameter(name).detach()

    def at(self, revision: int) -> Mapping[int, Tensor]:
        """Revision 0 is the base; every later one is further from it."""
        if not 0 <= revision <= HEAD:
            raise UnknownRevision(revision)
        direction = torch.randn(self._base.shape, generator=torch.Generator().manual_seed(3))
        return {_EDITED_LAYER: self._base + revision * direction}


@pytest.fixture(scope="session")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return resident_of(build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny"))


def resident_of(folder: Path) -> Resident:
    """The resident model of a folder, with three revisions."""
    base = load_model(str(folder), cache_dir=folder.parent / "cache")
    weights = Weights(base)
    return Resident(base, weights.at, revision=HEAD, weights=weights.at(HEAD))


def service_around(
    resident: Resident, data_dir: Path, *, clock: Clock = utc_now, **limits: Any
) -> FastAPI:
    """The service, serving this model."""

    def start_runtime(services: Services) -> ReadOnlyRuntime:
        del services
        return ReadOnlyRuntime(resident)

    settings = Settings(data_dir=data_dir, max_prompt_chars=5000, max_rows=16, **limits)
    return create_app(settings, components=Components(clock=clock, start_runtime=start_runtime))


@pytest.fixture(scope="session")
def api(resident: Resident, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An HTTP client of the service; the `openai` client takes it as its transport."""
    app = service_around(resident, tmp_path_factory.mktemp("data"))
    with local_client(app) as client:
        wait_until(lambda: client.get("/readyz").is_success, _READY_S)
        yield client


@pytest.fixture(scope="session")
def server(resident: Resident, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service behind a real socket: what streams is seen as it comes."""
    with listening(service_around(resident, tmp_path_factory.mktemp("served"))) as url:
        yield url


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application behind a real socket."""
    serving = StreamingServer(http_config(app, port=0))
    thread = threading.Thread(target=serving.run, name="server")
    thread.start()
    wait_until(lambda: serving.started, _READY_S, what="the start of the server")
    host, port = serving.servers[0].sockets[0].getsockname()
    url = f"http://{host}:{port}"
    wait_until(lambda: httpx2.get(f"{url}/readyz").is_success, _READY_S, what="readiness")
    yield url
    serving.should_exit = True
    thread.join()


@pytest.fixture
def remote(server: str) -> Iterator[OpenAI]:
    """The official client of the real server, as anybody would make it."""
    with OpenAI(base_url=f"{server}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def openai(api: TestClient) -> OpenAI:
    return OpenAI(base_url=f"{api.base_url}/v1", api_key="unused", http_client=api, max_retries=0)
