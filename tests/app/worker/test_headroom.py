"""Edits of a head that has exceeded a limit of theirs already: rejected, and never solved."""

from pathlib import Path

import pytest

from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind
from app.facts.edit_report import EditReport
from app.facts.revision_report import RevisionReport
from app.kit.canonical import JsonObject
from app.kit.clock import utc_now
from app.operations import revisions
from app.operations.lifecycle import accept
from app.worker.distance import Distance
from app.worker.effects import Candidate, EffectGauge
from app.worker.gates import GATES
from editing_core.measures.energy import hyperspherical_energy
from editing_core.model.loading import LoadedModel
from tests.support.waiting import wait_until
from tests.support.worker_service import BROKEN, WAIT_S, EditorFactory, Service, working

_BEYOND: JsonObject = {"perplexity_ratio": 0.1}  # by far: no head of these tests is so near
_REASON = "gate_perplexity_too_high"


def _gauge(service: Service) -> EffectGauge:
    return EffectGauge(service.lineage, service.resident, earlier_sample=4, perplexity_tokens=32)


def _told(service: Service) -> Distance:
    """How far the head has gone, by its report."""
    with service.database.read() as session:
        head = revisions.newest(session)
        assert head is not None
        report = RevisionReport.model_validate(head.report)
    return _gauge(service).distance(report)


def _measured(service: Service) -> Distance:
    """How far it has gone, by its weights."""
    matrices = service.lineage.head_state.weights.materialise()
    found = _gauge(service).measure(
        Candidate(
            model=service.resident.shadow(matrices),
            before=matrices,
            after=matrices,
            energies={layer: hyperspherical_energy(weight) for layer, weight in matrices.items()},
            logprobs=[],
            removed=(),
        )
    )
    return Distance(found.canaries_kept, found.energy_drift, found.perplexity_ratio)


def _assert_same(told: Distance, measured: Distance) -> None:
    assert told.canaries_kept == measured.canaries_kept
    assert told.energy_drift == pytest.approx(measured.energy_drift, abs=1e-6)
    assert told.perplexity_ratio == pytest.approx(measured.perplexity_ratio, rel=1e-6)


def _commit(service: Service, subject: str) -> str:
    id, number = service.submit(subject, method="ft"), service.head()[0]
    assert service.ended(id).status is EditStatus.COMMITTED
    wait_until(lambda: service.lineage.head_state.revision == number + 1, WAIT_S, what="the head")
    return id


def _roll_back(service: Service) -> None:
    number = service.head()[0]
    with service.database.write() as session:
        accept(
            session,
            id="rollback_1",
            kind=OperationKind.ROLLBACK,
            details={"to_revision": 0},
            actor="client",
            now=utc_now(),
            to_revision=0,
        )
    service.doorbell.ring("rollback_1")
    wait_until(
        lambda: service.lineage.head_state.revision == number + 1, WAIT_S, what="the rollback"
    )


def _report(service: Service, edit_id: str) -> EditReport:
    return EditReport.model_validate(service.ended(edit_id).report)


def test_every_revision_tells_how_far_it_has_gone_from_the_base(service: Service) -> None:
    _assert_same(_told(service), Distance(1.0, 0.0, 1.0))
    _commit(service, "France")
    _assert_same(_told(service), _measured(service))
    _commit(service, "Italy")
    _assert_same(_told(service), _measured(service))
    assert _told(service) != Distance(1.0, 0.0, 1.0)
    _roll_back(service)
    _assert_same(_told(service), Distance(1.0, 0.0, 1.0))


def test_an_edit_is_not_solved_where_the_head_is_far_beyond_its_limit(service: Service) -> None:
    _commit(service, "France")
    before = service.head()
    edit = service.submit("Italy", gates=_BEYOND, force=False, method=BROKEN)
    ended, report = service.ended(edit), _report(service, edit)
    assert (ended.status, ended.operation.reason) == (EditStatus.REJECTED, _REASON)
    assert ended.operation.attempts == 1
    assert service.head() == before
    (gate,) = report.gates
    assert (gate.name, gate.allowed, gate.passed) == ("perplexity_ratio", 0.1, False)
    assert gate.measured == pytest.approx(_measured(service).perplexity_ratio, rel=1e-6)
    assert report.after is None
    assert report.error is not None
    for named in ("perplexity_ratio", f"{gate.measured:.4g}", "0.1", '"force": true', "roll back"):
        assert named in report.error


def test_a_forced_edit_is_solved_and_held_to_its_limits(service: Service) -> None:
    edit = service.submit("Italy", gates=_BEYOND, force=True)
    assert service.ended(edit).operation.reason == _REASON
    assert _report(service, edit).after is not None
    assert set(service.gates(edit)) == set(GATES)


def test_an_edit_is_solved_where_it_might_pass(service: Service) -> None:
    edit = service.submit("Italy", gates={"perplexity_ratio": 0.99}, force=False)
    service.ended(edit)
    assert _report(service, edit).after is not None


def test_an_edit_that_takes_another_out_is_solved(service: Service) -> None:
    _commit(service, "France")
    edit = service.submit("France", target="Italy", gates=_BEYOND, force=False)
    assert service.ended(edit).operation.reason == _REASON
    assert _report(service, edit).after is not None


def test_the_head_is_known_after_a_restart(
    tmp_path: Path, tiny_model: LoadedModel, editor_of: EditorFactory, one_thread: None
) -> None:
    del one_thread
    with working(tmp_path, tiny_model, editor_of()) as service:
        _commit(service, "France")
        expected = _measured(service).perplexity_ratio
    assert expected != 1.0
    with working(tmp_path, tiny_model, editor_of()) as service:
        edit = service.submit("Italy", gates=_BEYOND, force=False, method=BROKEN)
        assert service.ended(edit).operation.reason == _REASON
        measured = service.gates(edit)["perplexity_ratio"].measured
    assert measured == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("atomic", [False, True])
def test_an_atomic_batch_is_rejected_whole_and_the_rest_of_another_goes_on(
    service: Service, atomic: bool
) -> None:
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=atomic)
        ids = [
            service.accept(session, subject, gates=gates, force=False, batch_id=batch)
            for subject, gates in (("France", None), ("Italy", _BEYOND), ("Spain", None))
        ]
    service.doorbell.ring(ids[0])
    other = (EditStatus.REJECTED, "batch_rejected") if atomic else (EditStatus.COMMITTED, None)
    ended = [service.ended(id) for id in ids]
    found = [(edit.status, edit.operation.reason) for edit in ended]
    assert found == [other, (EditStatus.REJECTED, _REASON), other]
    assert service.head()[0] == (0 if atomic else 1)
