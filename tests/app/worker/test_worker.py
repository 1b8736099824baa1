"""The worker on real parts: a tiny model, a real database and a real queue."""

import pytest
from sqlalchemy.orm import Session

from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind, OperationStatus
from app.facts.edit_report import EditReport
from app.kit.clock import utc_now
from app.operations import edits, revisions
from app.operations import repository as operations
from app.operations.lifecycle import accept
from editing_core.defaults import default_layers
from editing_core.edit import Edit
from editing_core.measures.energy import hyperspherical_energy
from editing_core.model.loading import LoadedModel
from editing_core.weights.delta import Weights
from editing_core.weights.digest import weights_digest
from tests.support.waiting import wait_until
from tests.support.worker_service import BROKEN, WAIT_S, EditorFactory, Service


def test_an_edit_that_breaks_the_worker_is_given_up_and_the_next_one_commits(
    service: Service,
) -> None:
    broken = service.submit("France", method=BROKEN)
    fine = service.submit("Italy")
    assert service.ended(fine).status is EditStatus.COMMITTED
    dead = service.ended(broken)
    assert (dead.status, dead.operation.attempts) == (EditStatus.DEAD, 3)


def test_a_second_edit_of_a_fact_takes_the_place_of_the_first(service: Service) -> None:
    first = service.submit("France", target="Rome")
    assert service.ended(first).status is EditStatus.COMMITTED
    second = service.ended(service.submit("  FRANCE ", target="Paris"))
    assert (second.status, second.supersedes) == (EditStatus.COMMITTED, first)
    assert service.ended(first).status is EditStatus.SUPERSEDED
    wait_until(lambda: list(service.lineage.head_state.live) == [second.id], WAIT_S)
    assert {len(keys) for keys in service.lineage.past_keys([]).values()} == {1}


def test_edits_of_one_fact_are_not_solved_together(service: Service) -> None:
    ids = [service.submit("France"), service.submit("Italy"), service.submit("France")]
    assert {service.ended(id).status for id in ids} <= {
        EditStatus.COMMITTED,
        EditStatus.SUPERSEDED,
    }
    with service.database.read() as session:
        made = {id: edits.get(session, id).operation.revision for id in ids}
    assert made[ids[0]] != made[ids[2]]


def test_facts_of_one_subject_may_be_solved_together(service: Service) -> None:
    with service.database.write() as session:  # so that the worker finds both at once
        ids = [
            service.accept(session, "France", prompt=prompt)
            for prompt in ("The capital of {} is", "{} is a part of")
        ]
    service.doorbell.ring(ids[0])
    assert {service.ended(id).status for id in ids} == {EditStatus.COMMITTED}
    assert len({service.ended(id).operation.revision for id in ids}) == 1


def test_a_second_fact_of_a_subject_is_solved_beside_the_first(
    service: Service, tiny_model: LoadedModel, editor_of: EditorFactory
) -> None:
    prompts = ("The capital of {} is", "{} is a part of")
    ids = [service.ended(service.submit("France", prompt=prompt)).id for prompt in prompts]
    facts = [Edit(id, "France", p, "Rome") for id, p in zip(ids, prompts, strict=True)]
    weight_of, view_with = tiny_model.architecture.weight_of, tiny_model.architecture.view_with
    layers = default_layers(tiny_model)
    weights = Weights({layer: weight_of(tiny_model.model, layer) for layer in layers})
    for done, fact in enumerate(facts):
        view = view_with(tiny_model.model, weights.materialise())
        found = editor_of().solve(view, [fact], method="alphaedit+sphere", beside=facts[:done])
        weights = weights.changed(add=[found.delta])
    assert weights_digest(service.lineage.materialise(2)) == weights_digest(weights.materialise())


def test_reported_energies_are_those_of_the_weights(service: Service) -> None:
    ids = [service.submit(name, method="memit") for name in ("France", "Italy")]
    ids.append(service.submit("France", method="memit", target="Paris"))  # supersedes the first
    ids.append(service.submit("Spain", method="ft"))
    for id in ids:
        edit = service.ended(id)
        revision = edit.operation.revision
        assert revision is not None
        assert edit.report is not None
        found = EditReport.model_validate(edit.report)
        before = service.lineage.materialise(revision - 1)
        after = service.lineage.materialise(revision)
        for layer in found.layers:
            pair = (layer.energy_before, layer.energy_after)
            expected = [hyperspherical_energy(w[layer.layer]) for w in (before, after)]
            assert pair == pytest.approx(expected, rel=1e-6)


def test_what_is_served_and_what_is_recorded_are_the_same_weights(service: Service) -> None:
    for subject in ("France", "Italy", "Spain"):
        assert service.ended(service.submit(subject)).status is EditStatus.COMMITTED
    head = 3
    wait_until(lambda: service.resident.head == head, WAIT_S)
    with service.database.read() as session:
        recorded = {n: revisions.get(session, n).weights_digest for n in range(head + 1)}
    for number, digest in recorded.items():
        assert weights_digest(service.lineage.materialise(number)) == digest


def test_undoing_on_top_of_a_head_that_has_moved_is_rejected_in_its_turn(service: Service) -> None:
    def rollback(session: Session, id: str, if_head: int) -> None:
        accept(
            session,
            id=id,
            kind=OperationKind.ROLLBACK,
            details={"to_revision": 0},
            actor="client",
            now=utc_now(),
            to_revision=0,
            if_head=if_head,
        )

    with service.database.write() as session:  # nothing runs before all of it is accepted
        for id, if_head in (("first", 0), ("late", 0), ("in_time", 1)):
            rollback(session, id, if_head)
    service.doorbell.ring("first")

    def status(id: str) -> OperationStatus:
        with service.database.read() as session:
            return operations.get(session, id).status

    wait_until(lambda: status("in_time") is OperationStatus.COMMITTED, WAIT_S)
    with service.database.read() as session:
        late = operations.get(session, "late")
    assert (late.status, late.reason) == (OperationStatus.REJECTED, "head_moved")
    assert service.head()[0] == 2
