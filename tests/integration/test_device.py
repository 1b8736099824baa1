"""A worker whose model is on a device of its own: every step from request to revision and back."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.edits.models import EditStatus
from app.operations.models import Operation
from app.worker.execution import Execution
from editing_core.digest import weights_digest
from editing_core.model.loading import load_model
from tests.far import far_device
from tests.integration.worker_service import EditorFactory, Service, working
from tests.tiny import build_tiny_model


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
        with working(tmp_path, model, EditorFactory(model)(), kind=_Far) as service:
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
    assert weights_digest(service.history.materialise(0)) == base
