import pytest
from sqlalchemy import event

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind, OperationStatus
from app.errors import BaseMismatch, StaleParent, UnknownEdit, UnknownRevision, WrongState
from app.facts.placements import Placement
from app.operations import edits, revisions
from app.operations import repository as operations
from app.operations.commit import AddedEdit, NewRevision, record_base
from app.operations.lifecycle import cancel, give_up, reject
from app.operations.live import live_edits
from app.operations.recovery import CRASHED, give_back, recover
from tests.support.chain import check_chain
from tests.support.history import MATRICES, History, measured


def _next(history: History, limit: int = 16) -> list[str]:
    with history.database.read() as session:
        return [operation.id for operation in operations.next_run(session, limit)]


def _live(history: History, revision: int) -> list[str]:
    with history.database.read() as session:
        return [edit.edit_id for edit in live_edits(session, revision)]


def test_nothing_is_next_in_an_empty_queue(history: History) -> None:
    assert _next(history) == []


def test_edits_come_together_in_the_order_they_were_accepted(history: History) -> None:
    for name in "abcd":
        history.accept(name)
    assert _next(history, 3) == ["a", "b", "c"]


def test_a_run_stops_before_another_method(history: History) -> None:
    history.accept("a", method="memit")
    history.accept("b", method="memit")
    history.accept("c", method="alphaedit")
    assert _next(history) == ["a", "b"]


def test_a_run_stops_before_a_second_edit_of_a_subject(history: History) -> None:
    history.accept("a", subject="Danielle Darrieux")
    history.accept("b")
    history.accept("c", subject="danielle  DARRIEUX")
    assert _next(history) == ["a", "b"]


def test_a_rollback_comes_alone_and_before_every_edit_that_waits(history: History) -> None:
    history.edit("bad")
    for number in range(40):
        history.accept(f"import-{number}")
    history.accept_rollback("r", 0)
    assert _next(history) == ["r"]
    assert _next(history, 1) == ["r"]


def test_what_a_dead_process_had_in_hand_comes_alone_and_without_blame(history: History) -> None:
    for name in "abc":
        history.accept(name)
    history.claim(2)
    with history.database.write() as session:
        crashed = operations.running(session)
        recover(session, crashed, CRASHED, now=history.clock(), actor="worker")
    assert _next(history) == ["a"]
    assert [operation.attempts for operation in history.claim()] == [1]
    history.commit_edits(["a"])
    assert _next(history) == ["b"]
    history.claim()
    history.commit_edits(["b"])
    assert _next(history) == ["c"]


def test_what_is_given_back_is_as_it_was(history: History) -> None:
    for name in "ab":
        history.accept(name)
    claimed = [operation.id for operation in history.claim()]
    with history.database.write() as session:
        give_back(session, claimed, history.clock())
    with history.database.read() as session:
        found = [operations.get(session, id) for id in claimed]
    assert {(o.status, o.attempts, o.started_at, o.alone) for o in found} == {
        (OperationStatus.ACCEPTED, 0, None, False)
    }
    assert _next(history) == ["a", "b"]


def test_cancelled_and_rejected_edits_are_passed_over(history: History) -> None:
    for name in "abc":
        history.accept(name)
    with history.database.write() as session:
        cancel(session, "a", now=history.clock(), actor="client")
    history.claim(1)
    with history.database.write() as session:
        reject(session, "b", "already_true", now=history.clock(), actor="w", report={"p": 0.9})
    assert _next(history) == ["c"]
    assert [history.status(name) for name in "ab"] == [EditStatus.CANCELLED, EditStatus.REJECTED]
    with history.database.read() as session:
        assert edits.get(session, "b").report == {"p": 0.9}
        assert check_chain(session).ok


@pytest.mark.parametrize("end", [reject, give_up])
def test_only_a_running_operation_ends_without_a_revision(history: History, end: object) -> None:
    history.accept("a")
    assert callable(end)
    with (
        history.database.write() as session,
        pytest.raises(WrongState, match="only one that is running"),
    ):
        end(session, "a", "reason", now=history.clock(), actor="worker")


def test_a_running_edit_can_no_longer_be_cancelled(history: History) -> None:
    history.accept("a")
    history.claim()
    with (
        history.database.write() as session,
        pytest.raises(WrongState, match="only one that is accepted"),
    ):
        cancel(session, "a", now=history.clock(), actor="client")


def test_a_commit_settles_revision_operations_edits_and_ledger(history: History) -> None:
    revision = history.edit("a", "b")
    assert (revision.number, revision.parent, revision.live_edits) == (1, 0, 2)
    assert revision.operation == "b"
    with history.database.read() as session:
        edit = edits.get(session, "b")
        assert edit.status is EditStatus.COMMITTED
        assert revisions.placements(session, ["b"]) == {"b": [Placement("b", "artefact-1", 1)]}
        assert edit.operation.status is OperationStatus.COMMITTED
        assert edit.operation.revision == 1
        assert check_chain(session).ok
    assert _live(history, 1) == ["a", "b"]


def test_sixteen_edits_are_read_and_changed_in_as_many_statements_as_two(
    history: History,
) -> None:
    sent: list[str] = []

    @event.listens_for(history.database.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("INSERT"):
            sent.append(statement)

    counts = []
    for size in (2, 16):
        ids = [history.accept(f"{size}-{number}") for number in range(size)]
        sent.clear()
        history.claim()
        history.commit_edits(ids)
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_a_commit_on_anything_but_the_head_is_refused(history: History) -> None:
    history.edit("a")
    history.accept("b")
    history.claim()
    stale = NewRevision(
        OperationKind.EDIT, 0, ["b"], "w", measured(), "x", added=[AddedEdit("b", 0, {})]
    )
    with pytest.raises(StaleParent, match="head is revision 1"):
        history.commit(stale)
    assert history.head() == 1
    assert history.status("b") is EditStatus.RUNNING


def test_a_commit_of_what_does_not_run_is_refused(history: History) -> None:
    history.accept("a")
    new = NewRevision(
        OperationKind.EDIT, 0, ["a"], "w", measured(), "x", added=[AddedEdit("a", 0, {})]
    )
    with pytest.raises(WrongState, match="only a running one"):
        history.commit(new)
    assert history.head() == 0


def test_a_newer_edit_of_a_fact_supersedes_the_live_one(history: History) -> None:
    history.edit("old", subject="Danielle Darrieux")
    with history.database.read() as session:
        assert edits.live_edit_of_fact(session, " danielle darrieux", "{}  IS") == "old"
        assert edits.live_edit_of_fact(session, "danielle darrieux", "{} was") is None
    history.edit("new", subject="Danielle Darrieux", supersedes="old")
    assert [history.status("old"), history.status("new")] == [
        EditStatus.SUPERSEDED,
        EditStatus.COMMITTED,
    ]
    assert (_live(history, 1), _live(history, 2)) == (["old"], ["new"])


def _rollback(
    history: History, name: str, to: int, restored: list[str], removed: list[str]
) -> None:
    history.accept_rollback(name, to)
    history.claim()
    history.commit(
        NewRevision(
            OperationKind.ROLLBACK,
            history.head(),
            [name],
            f"weights-{to}",
            measured(),
            restored=restored,
            removed=removed,
        )
    )


def test_rolling_back_and_forth_restores_what_clients_see(history: History) -> None:
    history.edit("old", subject="Danielle Darrieux")
    history.edit("new", subject="Danielle Darrieux", supersedes="old")
    _rollback(history, "back", 1, restored=["old"], removed=["new"])
    assert _live(history, 3) == ["old"]
    assert [history.status("old"), history.status("new")] == [
        EditStatus.COMMITTED,
        EditStatus.REVERTED,
    ]
    _rollback(history, "forth", 2, restored=["new"], removed=["old"])
    assert _live(history, 4) == ["new"]
    assert history.status("old") is EditStatus.SUPERSEDED
    with history.database.read() as session:
        assert edits.get(session, "old").superseded_by == "new"
        assert check_chain(session).ok


def test_the_base_is_recorded_once_and_for_one_model(history: History) -> None:
    def record(recipe: str, weights: str) -> int:
        with history.database.write() as session:
            return record_base(
                session,
                model="tiny",
                model_digest="model",
                recipe_digest=recipe,
                weights_digest=weights,
                actor="worker",
                now=history.clock(),
                matrices=MATRICES,
                report=measured(),
            ).number

    assert record("recipe", "weights-0") == 0
    assert record("another recipe", "weights-0") == 0
    with pytest.raises(BaseMismatch, match=r"weights_digest.*ERRATA_SITE"):
        record("recipe", "other weights")
    with history.database.read() as session:
        assert check_chain(session).entries == 1


def test_what_does_not_exist_is_named(database: Database) -> None:
    with database.read() as session:
        with pytest.raises(UnknownEdit, match="'edit_x'"):
            edits.get(session, "edit_x")
        with pytest.raises(UnknownRevision, match="7"):
            live_edits(session, 7)
        assert revisions.newest(session) is None
