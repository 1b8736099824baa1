"""The HTTP service on a tiny model that was edited, with no worker: for exports."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from app.database.database import Database
from app.database.tables.labels import Snapshot
from app.deps.services import Services
from app.main import Components
from app.operations.once import Once
from app.resident.resident import Resident
from app.settings import Settings
from editing_core.defaults import default_layers
from editing_core.model.loading import LoadedModel
from tests.support.edited import Edited
from tests.support.service import running
from tests.support.waiting import wait_until

_WAIT_S = 60.0


@dataclass(frozen=True)
class _ReadOnly:
    """A resident model that nobody edits."""

    resident: Resident
    contexts: tuple[str, ...] = ("{}",)
    preparation: None = None

    def take_snapshot(self, revision: int, label: str, once: Once) -> tuple[Snapshot, bool]:
        raise NotImplementedError

    def stop(self, timeout_s: float) -> None:
        """Nothing runs."""


class Installation:
    """An edited tiny model on disk, and the service on it as often as it is started."""

    def __init__(self, settings: Settings, database: Database, model: LoadedModel) -> None:
        self.settings, self.model = settings, model
        weight_of = model.architecture.weight_of
        base = {layer: weight_of(model.model, layer) for layer in default_layers(model)}
        self.edited = Edited(database, settings.data_dir, base=base)

    @property
    def files(self) -> list[str]:
        """Names of what lies among the exports."""
        return sorted(path.name for path in (self.settings.data_dir / "exports").glob("*"))

    def resident(self) -> Resident:
        """The model at the head."""
        lineage = self.edited.lineage
        return Resident(
            self.model,
            lineage.materialise,
            revision=self.edited.head,
            weights=lineage.materialise(self.edited.head),
        )

    @contextmanager
    def serving(self, **changed: Any) -> Iterator["Client"]:
        """The service, ready."""
        settings = self.settings.model_copy(update=changed)
        components = Components(start_runtime=self._start)
        with running(settings, components) as http:
            yield Client(http)

    def _start(self, services: Services) -> _ReadOnly:
        del services
        return _ReadOnly(self.resident())


def edited_twice(settings: Settings, database: Database, model: LoadedModel) -> Installation:
    """Two revisions of three live edits."""
    made = Installation(settings, database, model)
    made.edited.edit(2)
    made.edited.edit()
    return made


@dataclass(frozen=True)
class Client:
    """Asks for exports."""

    http: TestClient

    def post(self, **body: Any) -> dict[str, Any]:
        """An export that was accepted."""
        response = self.http.post("/v1/exports", json=body)
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        assert response.headers["Location"] == f"/v1/exports/{found['id']}"
        return found

    def get(self, export_id: str) -> dict[str, Any]:
        """An export as it stands now."""
        found: dict[str, Any] = self.http.get(f"/v1/exports/{export_id}").json()
        return found

    def ended(self, export_id: str) -> dict[str, Any]:
        """An export once it has ended."""

        def has_ended() -> bool:
            return self.get(export_id)["status"] in ("finished", "failed")

        wait_until(has_ended, _WAIT_S, what="the end of the export")
        return self.get(export_id)

    def made(self, **body: Any) -> dict[str, Any]:
        """An export that was asked for and has finished."""
        found = self.ended(self.post(**body)["id"])
        assert found["status"] == "finished", found["reason"]
        return found

    def unpack(self, export: dict[str, Any], folder: Path) -> Path:
        """The folder in an export's file."""
        data = self.http.get(export["download"]).content
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(folder, filter="data")
        (unpacked,) = folder.iterdir()
        return unpacked


def manifest(folder: Path) -> dict[str, Any]:
    """What an unpacked export says of itself."""
    found: dict[str, Any] = json.loads((folder / "revision.json").read_text())
    return found
