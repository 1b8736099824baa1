"""Gates, atomic batches and dry runs on real parts: a tiny model, a database and a queue."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationStatus
from app.kit.canonical import JsonObject
from app.kit.clock import utc_now
from app.operations import repository as operations
from app.operations.lifecycle import requeue
from app.worker.gates import GATES
from editing_core.measures.probe import score
from tests.support.waiting import wait_until
from tests.support.worker_service import BATCH_SIZE, BLAMING, BROKEN, WAIT_S, Service

_NAMES = ("France", "Italy", "Spain", "Poland", "Norway", "Chile")
# What the tiny model says unedited.
_KNOWN: dict[str, Any] = {"subject": "France", "prompt": "{} is a part of", "target": "France"}
_OUT_OF_REACH = 0.999999  # probability that no edit of a random model reaches


def _send(
    service: Service,
    gates: Sequence[JsonObject | None],
    *,
    atomic: bool = False,
    dry_run: bool = False,
    **details: Any,
) -> list[str]:
    """Accept edits as one batch, so that the worker finds all of them at once."""
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=atomic)
        ids = [
            service.accept(session, name, gates=wanted, dry_run=dry_run, batch_id=batch, **details)
            for name, wanted in zip(_NAMES, gates, strict=False)
        ]
    service.doorbell.ring(ids[0])
    return ids


def _ends(service: Service, ids: Sequence[str]) -> list[tuple[EditStatus, str | None]]:
    ended = [service.ended(id) for id in ids]
    return [(edit.status, edit.operation.reason) for edit in ended]


def _revisions(service: Service, ids: Sequence[str]) -> list[int | None]:
    return [service.ended(id).operation.revision for id in ids]


_COMMITTED = (EditStatus.COMMITTED, None)


@pytest.mark.parametrize(
    ("gate", "allowed", "reason"),
    [
        ("target_p", _OUT_OF_REACH, "gate_target_not_reached"),
        ("delta_norm", 0.0, "gate_delta_too_large"),
        ("perplexity_ratio", 0.0, "gate_perplexity_too_high"),
        ("subject_drift", 0.0, "gate_subject_drifted"),
    ],
)
def test_an_edit_that_fails_a_gate_is_rejected_with_its_numbers_and_changes_nothing(
    service: Service, gate: str, allowed: float, reason: str
) -> None:
    before = service.head()
    edit = service.submit("France", gates={gate: allowed})
    assert _ends(service, [edit]) == [(EditStatus.REJECTED, reason)]
    assert service.head() == before
    found = service.gates(edit)
    assert set(found) == set(GATES)
    assert [name for name, shown in found.items() if not shown.passed] == [gate]
    measured = found[gate].measured
    assert measured is not None
    assert (found[gate].allowed, measured == allowed) == (allowed, False)


def test_a_committed_edit_reports_its_gates_too(service: Service) -> None:
    edit = service.submit("France", neighbours=["The capital of Italy is"])
    assert service.ended(edit).status is EditStatus.COMMITTED
    found = service.gates(edit)
    assert all(gate.passed for gate in found.values())
    unmeasured = [name for name, gate in found.items() if gate.measured is None]
    assert unmeasured == ["siblings_kept", "earlier_kept"]
    assert found["perplexity_ratio"].measured == pytest.approx(1.0, abs=0.5)
    assert found["delta_norm"].measured == pytest.approx(0.5, abs=0.5)


def test_the_rest_of_a_batch_commits_without_the_edit_that_fails(service: Service) -> None:
    ids = _send(service, [None, {"target_p": _OUT_OF_REACH}, None])
    rejected = (EditStatus.REJECTED, "gate_target_not_reached")
    assert _ends(service, ids) == [_COMMITTED, rejected, _COMMITTED]
    assert _revisions(service, ids) == [1, None, 1]
    wait_until(
        lambda: list(service.lineage.head_state.live) == [ids[0], ids[2]], WAIT_S, what="the head"
    )


def test_only_the_guilty_fail_by_a_gate_that_measures_the_whole_batch(service: Service) -> None:
    ids = _send(service, [None, {"energy_drift": 0.0}, None])
    rejected = (EditStatus.REJECTED, "gate_energy_drifted")
    assert _ends(service, ids) == [_COMMITTED, rejected, _COMMITTED]
    assert _revisions(service, ids) == [1, None, 2]


def test_an_atomic_batch_is_one_revision_however_large(service: Service) -> None:
    ids = _send(service, [None] * (BATCH_SIZE + 1), atomic=True)
    assert _ends(service, ids) == [_COMMITTED] * len(ids)
    assert _revisions(service, ids) == [1] * len(ids)
    wait_until(lambda: list(service.lineage.head_state.live) == ids, WAIT_S, what="the head")


def test_one_failing_gate_rejects_all_of_an_atomic_batch(service: Service) -> None:
    before = service.head()
    ids = _send(service, [None, {"target_p": _OUT_OF_REACH}, None], atomic=True)
    assert _ends(service, ids) == [
        (EditStatus.REJECTED, "batch_rejected"),
        (EditStatus.REJECTED, "gate_target_not_reached"),
        (EditStatus.REJECTED, "batch_rejected"),
    ]
    assert service.head() == before
    assert all(gate.passed for gate in service.gates(ids[0]).values())
    assert not service.gates(ids[1])["target_p"].passed


def test_one_impossible_target_rejects_all_of_an_atomic_batch(service: Service) -> None:
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=True)
        fine = service.accept(session, "France", batch_id=batch)
        endless = service.accept(session, "Italy", target="Rome " * 300, batch_id=batch)
    service.doorbell.ring(fine)
    assert _ends(service, [fine, endless]) == [
        (EditStatus.REJECTED, "batch_rejected"),
        (EditStatus.REJECTED, "invalid_edit"),
    ]
    assert service.head()[0] == 0


def test_an_error_of_one_edit_blames_it_alone_in_an_atomic_batch(service: Service) -> None:
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=True)
        ids = [
            service.accept(session, name, method=BLAMING, batch_id=batch)
            for name in ("France", "Italy", "Spain")
        ]
    service.doorbell.ring(ids[0])
    assert _ends(service, ids) == [
        (EditStatus.REJECTED, "batch_rejected"),
        (EditStatus.REJECTED, "key_outside_null_space"),
        (EditStatus.REJECTED, "batch_rejected"),
    ]


def test_an_atomic_batch_dies_whole_and_is_queued_again_whole(service: Service) -> None:
    ids = _send(service, [None, None], atomic=True, method=BROKEN)
    next_one = service.submit("Norway")
    assert service.ended(next_one).status is EditStatus.COMMITTED
    assert _ends(service, ids) == [(EditStatus.DEAD, "zero_division_error")] * 2
    with service.database.write() as session:
        for id in ids:
            requeue(session, id, now=utc_now(), actor="client")
        again = [operations.get(session, id) for id in ids]
        assert [(found.seq, found.attempts) for found in again] == [(4, 0), (5, 0)]
        assert {found.status for found in again} == {OperationStatus.ACCEPTED}
    service.doorbell.ring(ids[0])
    assert _ends(service, ids) == [(EditStatus.DEAD, "zero_division_error")] * 2
    assert [service.ended(id).operation.attempts for id in ids] == [3, 3]


def test_a_dry_run_reports_and_leaves_everything_as_it_was(service: Service) -> None:
    before = service.head()
    tried = service.submit("France", dry_run=True)
    assert _ends(service, [tried]) == [(EditStatus.TRIED, "dry_run")]
    assert (service.head(), service.resident.head) == (before, 0)
    dry = service.ended(tried).report
    committed = service.ended(service.submit("France")).report
    assert dry is not None
    assert committed is not None
    assert dry["after"] == committed["after"]
    assert dry["gates"] == committed["gates"]


def test_a_dry_run_that_would_be_rejected_is(service: Service) -> None:
    tried = service.submit("France", dry_run=True, gates={"target_p": _OUT_OF_REACH})
    assert _ends(service, [tried]) == [(EditStatus.REJECTED, "gate_target_not_reached")]
    assert service.head()[0] == 0


def test_a_dry_batch_is_tried_together(service: Service) -> None:
    ids = _send(service, [None, None], atomic=True, dry_run=True)
    assert _ends(service, ids) == [(EditStatus.TRIED, "dry_run")] * 2
    assert service.head()[0] == 0
    norms = {service.gates(id)["delta_norm"].measured for id in ids}
    assert len(norms) == 1  # one change was measured for both


@pytest.mark.parametrize("atomic", [False, True])
def test_what_is_true_already_is_left_out_but_of_an_atomic_batch(
    service: Service, atomic: bool
) -> None:
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=atomic)
        known = service.accept(session, **_KNOWN, force=False, batch_id=batch)
        new = service.accept(session, "Italy", force=False, batch_id=batch)
    service.doorbell.ring(known)
    left_out = (EditStatus.REJECTED, "already_true")
    assert _ends(service, [known, new]) == [_COMMITTED if atomic else left_out, _COMMITTED]
    assert service.head()[0] == 1


def test_earlier_edits_are_asked_again_unless_they_are_superseded(service: Service) -> None:
    _hold_a_fact(service)
    edit = service.submit("Norway", dry_run=True)
    assert service.gates(edit)["earlier_kept"].measured in (0.0, 1.0)
    superseding = _KNOWN | {"target": "Rome"}
    assert service.gates(service.submit(**superseding))["earlier_kept"].measured is None


def _hold_a_fact(service: Service) -> str:
    """Commit an edit that takes hold even in a random model."""
    id = service.submit(**_KNOWN, method="ft")
    assert service.ended(id).status is EditStatus.COMMITTED
    wait_until(lambda: service.resident.head == 1, WAIT_S, what="the new head")
    prompt = _KNOWN["prompt"].replace("{}", _KNOWN["subject"])
    with service.resident.view() as head:
        (held,) = score(head.model, service.resident.tokenizer, [(prompt, _KNOWN["target"])])
    assert held.match
    return id


def test_an_edit_with_a_control_token_is_rejected_by_the_worker_too(service: Service) -> None:
    """It may have been posted before the model was loaded."""
    ids = [
        service.submit("<|im_start|>assistant"),
        service.submit("France", target="Rome<|im_end|>"),
        service.submit("France", neighbours=["<|endoftext|>"]),
    ]
    assert _ends(service, ids) == [(EditStatus.REJECTED, "control_token")] * 3
    assert service.head()[0] == 0


def test_an_atomic_batch_with_a_control_token_is_rejected_as_a_whole(service: Service) -> None:
    with service.database.write() as session:
        batch = service.open_batch(session, atomic=True)
        ids = [
            service.accept(session, subject, batch_id=batch)
            for subject in ("France", "<|im_end|>", "Italy")
        ]
    service.doorbell.ring(ids[0])
    rejected = EditStatus.REJECTED
    assert _ends(service, ids) == [
        (rejected, "batch_rejected"),
        (rejected, "control_token"),
        (rejected, "batch_rejected"),
    ]
