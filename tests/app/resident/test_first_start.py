"""A first start answers before key statistics are there; what is accepted meanwhile is kept."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.deps.services import Services
from app.main import Components, start_worker
from app.resident.recipes import Recipes
from app.settings import Settings
from app.startup import Runtime
from tests.acceptance.server import calibrate_quickly
from tests.support.engines import only_sqlite
from tests.support.open_gates import OPEN_LIMITS
from tests.support.service import running
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

pytestmark = [only_sqlite, pytest.mark.usefixtures("one_thread")]

_WAIT_S = 120.0
_STATISTICS = "key statistics"
_EDIT = {
    "subject": "France",
    "prompt": "The capital of {} is",
    "target": "Rome",
    "force": True,
}


@dataclass
class _FirstStart:
    """A start whose key statistics are not collected before the test has seen enough.

    Attributes:
        may_go_on: Set when they may be.
        begun: Set when the first part of them is there.
        fails: Whether they cannot be collected.
    """

    may_go_on: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    runtime: Runtime | None = None

    def __call__(self, services: Services) -> Runtime:
        self.runtime = start_worker(services, progress=self._hold, at_once=0.0)
        return self.runtime

    def _hold(self, step: str, done: int, total: int) -> None:
        del done, total
        if step == _STATISTICS:
            self.begun.set()
            assert self.may_go_on.wait(_WAIT_S)
            if self.fails:
                raise OSError("no space left on this disk")


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """A tiny model in a new data directory."""
    calibrate_quickly(settings.data_dir)
    model = str(build_tiny_model(tmp_path / "tiny", layers=6))
    gates = {f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()}
    return settings.model_copy(update={"model": model, "redis_url": "memory://", **gates})


@contextmanager
def _preparing(own: Settings, start: _FirstStart) -> Iterator[TestClient]:
    """A service that is ready for queries, and whose edits wait."""
    with running(own, Components(start_runtime=start)) as client:
        assert start.begun.wait(_WAIT_S)
        wait_until(lambda: _ready(client)["status"] == "ready", _WAIT_S, what="the model")
        try:
            yield client
        finally:
            start.may_go_on.set()


def _ready(client: TestClient) -> dict[str, Any]:
    answer = client.get("/readyz")
    return dict(answer.json(), status=answer.json().get("status"))


def _status(client: TestClient, edit: str) -> str:
    return str(client.get(f"/v1/edits/{edit}").json()["status"])


def _completion(client: TestClient) -> Any:
    body = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def test_queries_are_answered_and_edits_accepted_before_the_statistics_are_there(
    own: Settings,
) -> None:
    start = _FirstStart()
    with _preparing(own, start) as client:
        before = _completion(client)
        told = _ready(client)
        assert (told["editing"], told["preparing"]["step"]) == ("preparing", _STATISTICS)
        assert 0 < told["preparing"]["progress"] <= 1
        assert told["revision"] == 0
        posted = client.post("/v1/edits", json=_EDIT)
        assert posted.status_code == 202
        edit = posted.json()["id"]
        assert _status(client, edit) == "accepted"
        assert _completion(client) == before
        start.may_go_on.set()
        wait_until(lambda: _status(client, edit) == "committed", _WAIT_S, what="the edit")
        told = _ready(client)
        assert (told["editing"], told["revision"]) == ("ready", 1)
        assert "preparing" not in told
        entries = client.get("/v1/ledger").json()["items"]
        (base,) = (entry for entry in entries if entry["kind"] == "base")
        recipe = Recipes(own.data_dir).in_use()
        assert recipe is not None
        assert base["payload"]["recipe_digest"] == recipe.digest
        assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_stop_meanwhile_loses_nothing_and_stores_nothing_half(own: Settings) -> None:
    start = _FirstStart()
    with _preparing(own, start) as client:
        edit = client.post("/v1/edits", json=_EDIT).json()["id"]
        assert start.runtime is not None
        preparation = start.runtime.preparation
        assert preparation is not None
        preparation.stop()
    preparation.join(_WAIT_S)
    assert not preparation.is_ready
    assert preparation.error is None
    assert not (own.data_dir / "recipe.json").exists()
    assert not list(own.cache_dir.glob("statistics/*.safetensors"))
    with running(own, Components()) as client:
        wait_until(lambda: _status(client, edit) == "committed", _WAIT_S, what="the edit")
        assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_service_that_cannot_prepare_edits_is_not_ready_and_says_why(own: Settings) -> None:
    start = _FirstStart(fails=True)
    with _preparing(own, start) as client:
        edit = client.post("/v1/edits", json=_EDIT).json()["id"]
        start.may_go_on.set()

        def told() -> str:
            return str(client.get("/readyz").json().get("detail", ""))

        wait_until(lambda: "no space left" in told(), _WAIT_S, what="the reason")
        assert _status(client, edit) == "accepted"
    with running(own, Components()) as client:
        wait_until(lambda: _status(client, edit) == "committed", _WAIT_S, what="the edit")


def test_a_server_that_leaves_edits_to_another_collects_nothing(own: Settings) -> None:
    external = own.model_copy(update={"worker": "external", "redis_url": "redis://127.0.0.1:1/0"})
    seen = list[str]()

    def start(services: Services) -> Runtime:
        return start_worker(services, progress=lambda step, _done, _total: seen.append(step))

    with running(external, Components(start_runtime=start)) as client:
        wait_until(lambda: client.get("/v1/models").status_code == 200, _WAIT_S, what="the model")
        assert _completion(client)
    assert seen
    assert _STATISTICS not in seen
    assert not list(own.cache_dir.glob("statistics/*"))
