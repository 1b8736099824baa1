"""Atomic batches, dry runs and requeues in the order of operations, without a model."""

import json

import pytest

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationStatus
from app.errors import WrongState
from app.ledger import repository as entries
from app.operations import edits
from app.operations import repository as operations
from app.operations.lifecycle import give_up, requeue, try_out
from app.operations.recovery import CRASHED, recover
from tests.support.chain import check_chain
from tests.support.history import History


def _next(history: History, limit: int = 16) -> list[str]:
    with history.database.read() as session:
        return [operation.id for operation in operations.next_run(session, limit)]


def _told_last(database: Database, operation_id: str) -> dict[str, object]:
    """What the newest ledger entry about an operation says."""
    with database.read() as session:
        assert check_chain(session).ok
        entry = entries.get(session, operations.get(session, operation_id).ledger_index)
        told: dict[str, object] = json.loads(entry.payload) | {"entry": entry.kind.value}
        return told


@pytest.mark.parametrize("limit", [1, 3, 16])
def test_an_atomic_batch_comes_whole_and_alone(history: History, limit: int) -> None:
    history.accept("before")
    history.open_batch("batch", atomic=True)
    for name in "abcde":
        history.accept(name, batch_id="batch")
    history.accept("after")
    assert _next(history, limit) == ["before"]
    history.claim(limit)
    history.commit_edits(["before"])
    assert _next(history, limit) == list("abcde")
    assert [operation.attempts for operation in history.claim(limit)] == [1] * 5
    with history.database.write() as session:  # its process died
        crashed = operations.running(session)
        recover(session, crashed, CRASHED, now=history.clock(), actor="worker")
    assert _next(history, limit) == list("abcde")
    assert [operation.attempts for operation in history.claim(limit)] == [2] * 5
    history.commit_edits(list("abcde"))
    assert _next(history, limit) == ["after"]


def test_edits_of_another_batch_are_solved_with_their_neighbours(history: History) -> None:
    history.open_batch("batch", atomic=False)
    history.accept("a")
    history.accept("b", batch_id="batch")
    history.accept("c")
    assert _next(history) == ["a", "b", "c"]


def test_two_atomic_batches_do_not_mix(history: History) -> None:
    for batch in ("first", "second"):
        history.open_batch(batch, atomic=True)
        history.accept(f"{batch}-1", batch_id=batch)
        history.accept(f"{batch}-2", batch_id=batch)
    assert _next(history) == ["first-1", "first-2"]


def test_what_is_tried_is_not_solved_beside_what_is_meant(history: History) -> None:
    history.accept("a")
    history.accept("b", dry_run=True)
    history.accept("c", dry_run=True)
    history.open_batch("batch", atomic=False)
    for name in "de":
        history.accept(name, dry_run=True, batch_id="batch")
    history.accept("f")
    runs = []
    while run := _next(history):
        runs.append("".join(run))
        for operation in history.claim():
            with history.database.write() as session:
                now = history.clock()
                try_out(session, operation.id, now=now, actor="worker", report={})
    assert runs == ["a", "b", "c", "de", "f"]


def test_a_dry_run_ends_as_tried_in_the_ledger_too(history: History) -> None:
    history.accept("a", dry_run=True)
    history.claim()
    with history.database.write() as session:
        try_out(session, "a", now=history.clock(), actor="worker", report={"p": 0.9})
    with history.database.read() as session:
        edit = edits.get(session, "a")
        assert (edit.status, edit.operation.status) == (EditStatus.TRIED, OperationStatus.TRIED)
        assert (edit.report, edit.operation.revision) == ({"p": 0.9}, None)
    expected = {"entry": "verdict", "id": "a", "seq": 1, "status": "tried", "reason": "dry_run"}
    assert _told_last(history.database, "a") == expected
    assert history.head() == 0


def _kill(history: History, *names: str) -> None:
    with history.database.write() as session:
        for name in names:
            give_up(session, name, "crashed", now=history.clock(), actor="worker")


def _requeue(history: History, name: str) -> None:
    with history.database.write() as session:
        requeue(session, name, now=history.clock(), actor="client")


def test_a_dead_edit_is_queued_again_behind_what_waits(history: History) -> None:
    history.accept("a")
    history.claim()
    _kill(history, "a")
    history.accept("b")
    _requeue(history, "a")
    with history.database.read() as session:
        again = operations.get(session, "a")
        assert (again.seq, again.attempts, again.status) == (3, 0, OperationStatus.ACCEPTED)
        assert (again.reason, again.started_at, again.finished_at) == (None, None, None)
    assert history.status("a") is EditStatus.ACCEPTED
    told = {"entry": "operation", "id": "a", "seq": 3, "kind": "edit", "former_seq": 1}
    assert _told_last(history.database, "a") == told
    assert _next(history) == ["b", "a"]


def test_what_is_committed_is_in_the_order_of_seq_after_a_requeue(history: History) -> None:
    history.accept("a")
    history.claim()
    _kill(history, "a")
    history.edit("b")
    _requeue(history, "a")
    history.claim()
    history.commit_edits(["a"])
    with history.database.read() as session:
        made = [(operations.get(session, n).seq, operations.get(session, n).revision) for n in "ba"]
    assert made == [(2, 1), (3, 2)]


def test_a_place_that_was_left_is_not_given_to_another(history: History) -> None:
    history.accept("a")
    history.claim()
    _kill(history, "a")
    _requeue(history, "a")
    history.accept("b")
    with history.database.read() as session:
        assert [operations.get(session, name).seq for name in "ab"] == [2, 3]


def test_only_what_is_dead_is_queued_again(history: History) -> None:
    history.accept("a")
    with pytest.raises(WrongState, match="is accepted; only one that is dead"):
        _requeue(history, "a")
    history.claim()
    history.commit_edits(["a"])
    with pytest.raises(WrongState, match="is committed; only one that is dead"):
        _requeue(history, "a")
