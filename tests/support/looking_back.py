"""A whole service with a real worker on a tiny model, and a short history with every kind in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from starlette.testclient import TestClient
from torch import Tensor

from app.client import Errata
from app.deps.services import Services
from app.main import create_app
from app.operations.live import live_edits
from app.resident.factors import read_factors
from app.settings import Settings
from app.startup import Serving
from tests.support.local_client import local_client
from tests.support.open_gates import OPEN_LIMITS
from tests.support.waiting import wait_until

_SHORT_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100
_WAIT_S = 120.0

SUPERSEDED, REVERTED, ERASED, ROLLED_BACK, HEAD = 3, 5, 6, 7, 8


@dataclass(frozen=True)
class Lived:
    """A service that has a history; nothing is written to it any more.

    Attributes:
        errata: Its client.
        http: The same, untyped.
        edits: Ids of its edits in order; the last but one was erased.
    """

    errata: Errata
    http: TestClient
    edits: tuple[str, ...]

    @property
    def serving(self) -> Serving:
        found: Serving = self.http.app_state["serving"].get()
        return found

    @property
    def services(self) -> Services:
        found: Services = self.http.app_state["services"]
        return found

    def matrices(self, revision: int) -> dict[int, Tensor]:
        """The edited matrices of a revision as they are served."""
        resident = self.serving.runtime.resident
        with resident.view(revision) as view:
            return resident.matrices(view)

    def sums(self, revision: int) -> dict[int, Tensor]:
        """Layer → Σ live factors of a revision, multiplied out."""
        with self.services.database.read() as session:
            live = live_edits(session, revision)
        total: dict[int, Tensor] = {}
        for delta in read_factors(self.services.artefacts, live):
            for layer, part in delta.layers.items():
                total[layer] = total.get(layer, 0) + part.update()
        return total


@contextmanager
def lived(folder: Path, model: Path, database_url: str) -> Iterator[Lived]:
    """The service, after edits, a superseding, a revert, a rollback and an erasure."""
    settings = prepared(folder, model, database_url=database_url)
    with local_client(create_app(settings), raise_server_exceptions=True) as http:
        wait_until(lambda: http.get("/readyz").is_success, _WAIT_S, what="readiness")
        errata = Errata(http=http)
        yield Lived(errata, http, tuple(live(errata, http)))


def prepared(folder: Path, model: Path, **more: Any) -> Settings:
    """Settings for a new service on this model that lets every edit pass."""
    settings = Settings(
        model=str(model),
        data_dir=folder / "data",
        batch_size=1,
        gate_perplexity_tokens=32,
        **{f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()},
        **more,
    )
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "calibration.txt").write_text(_SHORT_TEXT)
    return settings


def live(errata: Errata, http: httpx2.Client) -> Iterator[str]:
    """Give a new service its history; the ids of its edits in order."""
    yield _edit(errata, "Place 0", "Rome")
    yield (reverted := _edit(errata, "Place 1", "Rome"))
    yield _edit(errata, "Place 0", "Paris")  # supersedes the first
    yield _edit(errata, "Place 2", "Italy")
    errata.wait_operation(errata.revert(reverted).id, _WAIT_S)
    yield (erased := _edit(errata, "Place 3", "English"))
    errata.wait_operation(errata.rollback(4).id, _WAIT_S)
    yield _edit(errata, "Place 4", "German")
    assert http.post(f"/v1/edits/{erased}/erase").is_success
    assert errata.revision().number == HEAD


def _edit(errata: Errata, subject: str, target: str) -> str:
    found = errata.submit(subject, "The capital of {} is", target, force=True)
    ended = errata.wait(found.id, _WAIT_S)
    assert ended.status == "committed", ended.reason
    return ended.id
