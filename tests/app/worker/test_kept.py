"""What was computed on the head is not computed again while the head stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database.tables.edits import EditStatus
from app.facts.edit_report import EditReport
from app.worker.interruption import Interruption
from editing_core.defaults import default_layers
from editing_core.model.loading import LoadedModel
from tests.support.waiting import wait_until
from tests.support.worker_service import WAIT_S, EditorFactory, Service, working


class Steps:
    """Counts the steps of all that is solved."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Another step begins."""
        self.count += 1


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def counted(
    tmp_path: Path,
    tiny_model: LoadedModel,
    editor_of: EditorFactory,
    steps: Steps,
    one_thread: None,
) -> Iterator[Service]:
    del one_thread
    interruption = Interruption(steps)
    with working(
        tmp_path, tiny_model, editor_of(interruption.step), interruption=interruption
    ) as service:
        yield service


def _evaluations(service: Service, ids: list[str]) -> int:
    """How often the loss was evaluated for the values of edits that were optimised together."""
    reports = [EditReport.model_validate(service.ended(id).report) for id in ids]
    taken = [report.value_steps for report in reports if report.value_steps is not None]
    assert len(taken) == len(ids)
    return max(taken) + 1


def test_the_rest_of_a_batch_keeps_its_values_when_one_edit_fails_a_gate(
    counted: Service, steps: Steps, tiny_model: LoadedModel
) -> None:
    limits = [None, {"target_p": 1.0}, None]
    with counted.database.write() as session:
        ids = [
            counted.accept(session, name, gates=gates)  # type: ignore[arg-type]
            for name, gates in zip(("France", "Italy", "Spain"), limits, strict=True)
        ]
    counted.doorbell.ring(ids[0])
    statuses = [counted.ended(id).status for id in ids]
    assert statuses == [EditStatus.COMMITTED, EditStatus.REJECTED, EditStatus.COMMITTED]
    solves = 2  # with the edit that failed, and without it
    layers = len(default_layers(tiny_model))
    assert steps.count == _evaluations(counted, ids) + solves * layers


def test_a_batch_that_the_disk_did_not_take_is_stored_once_it_does_and_not_solved_again(
    counted: Service,
    steps: Steps,
    tmp_path: Path,
    tiny_model: LoadedModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, away = tmp_path / "artefacts", tmp_path / "elsewhere"
    folder.rename(away)
    edit = counted.submit("France")
    wait_until(lambda: caplog.text.count("run_interrupted") > 1, WAIT_S, what="a second try")
    away.rename(folder)
    ended = counted.ended(edit)
    assert (ended.status, ended.operation.attempts) == (EditStatus.COMMITTED, 1)
    assert steps.count == _evaluations(counted, [edit]) + len(default_layers(tiny_model))
