"""A worker whose model is on a device of its own: every step from request to revision and back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.database.tables.edits import EditStatus
from app.database.tables.operations import Operation
from app.worker.execution import Execution
from editing_core.defaults import default_layers, default_recipe
from editing_core.editor import Editor
from editing_core.model.loading import load_model
from editing_core.statistics import collect
from editing_core.weights.digest import weights_digest
from tests.support.far import far_device
from tests.support.tiny import build_tiny_model
from tests.support.worker_service import Service, working


class _Far(Execution):
    """Executes on the worker's thread, which has to know the device, too."""

    def execute(self, run: Sequence[Operation]) -> None:
        with far_device():
            super().execute(run)


@pytest.fixture
def far_service(tmp_path: Path) -> Iterator[Service]:
    folder = build_tiny_model(tmp_path / "tiny")
    with far_device() as device:
        model = load_model(str(folder), cache_dir=tmp_path, device=str(device))
        statistics = collect(model, default_layers(model), "The capital of France is Paris. " * 200)
        recipe = default_recipe(model, statistics)
        recipe = replace(
            recipe,
            contexts=recipe.contexts[:1],
            value=replace(recipe.value, steps=2),
            finetune=replace(recipe.finetune, steps=2),
        )
        editor = Editor(model, recipe, statistics)
        with working(tmp_path, model, editor, kind=_Far) as service:
            yield service


def test_edits_are_committed_served_and_undone_on_a_device_of_their_own(
    far_service: Service,
) -> None:
    service = far_service
    _, base = service.head()
    for subject, method in (("France", "memit+sphere"), ("Italy", "alphaedit+sphere")):
        assert service.ended(service.submit(subject, method=method)).status is EditStatus.COMMITTED
    dense = service.ended(service.submit("Spain", method="ft"))
    assert dense.status is EditStatus.COMMITTED
    revision, digest = service.head()
    assert revision == 3
    assert weights_digest(service.resident.matrices(service.resident.newest)) == digest
    assert weights_digest(service.lineage.materialise(0)) == base
