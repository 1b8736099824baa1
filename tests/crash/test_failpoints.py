"""SIGKILL at every failpoint, in every operation: nothing lost, nothing twice, the head's bits."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from app.client import Errata, ServerAway
from app.kit.failpoints import Failpoint
from app.settings import Settings
from tests.crash.child import started
from tests.crash.conftest import SUBJECTS, Installation
from tests.crash.weights import check_weights
from tests.support.queues import running_redis
from tests.support.waiting import wait_until

_WAIT_S = 60.0
_PLACES = ("Spain", "Greece", "Norway")
_ADDED = {"edit": 1, "batch": len(_PLACES)}  # edits of one request; those of a batch are atomic
# One edit passes every point; these are also worth trying each time.
_OFTEN = {
    ("sqlite", "batch", Failpoint.COMMITTING),
    ("sqlite", "revert", Failpoint.COMMITTING),
    ("sqlite", "rollback", Failpoint.COMMITTED),
    ("postgres", "edit", Failpoint.ACCEPTING),
    ("postgres", "edit", Failpoint.COMMITTING),
    ("postgres", "rollback", Failpoint.COMMITTED),
}
# Where it matters most what has become of the ring.
_RINGING = (Failpoint.ACCEPTED, Failpoint.CLAIMED, Failpoint.ADVANCED)
_UNDOINGS = ("revert", "rollback")

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def _ask(errata: Errata, operation: str) -> None:
    """Ask for one operation; edits may be asked for again, for they have a key."""
    if operation == "revert":
        (edit,) = [found for found in errata.edits() if found.subject == SUBJECTS[0]]
        errata.revert(edit.id)
    elif operation == "rollback":
        errata.rollback(1)
    else:
        edits = [
            {"subject": place, "prompt": "The capital of {} is", "target": "Rome", "force": True}
            for place in _PLACES[: _ADDED[operation]]
        ]
        errata.submit_batch(edits, atomic=operation == "batch", idempotency_key="the-same-request")


def _matrix() -> list[object]:
    every = [(o, point) for o in ("edit", "batch", "revert", "rollback") for point in Failpoint]
    return [
        pytest.param(engine, operation, point, id=f"{engine}-{operation}-{point}", marks=marks)
        for engine in ("sqlite", "postgres")
        for operation, point in every
        for marks in [_marks(engine, operation, point)]
    ]


def _marks(engine: str, operation: str, point: Failpoint) -> list[pytest.MarkDecorator]:
    often = (engine, operation, point) in _OFTEN or (engine, operation) == ("sqlite", "edit")
    marks = [] if often else [pytest.mark.matrix]
    return [*marks, pytest.mark.postgres] if engine == "postgres" else marks


@pytest.mark.parametrize(("template", "operation", "point"), _matrix(), indirect=["template"])
def test_a_kill_loses_nothing_and_does_nothing_twice(
    installation: Installation, operation: str, point: Failpoint
) -> None:
    _kill_and_recover(installation.settings, installation.log, operation, point)


@pytest.fixture(params=["memory", "remote"])
def other_queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a doorbell that is not the embedded one."""
    if request.param == "memory":
        yield "memory://"
        return
    with running_redis(tmp_path / "remote") as url:
        yield url


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=() if point in _RINGING else pytest.mark.matrix)
        for point in Failpoint
    ],
)
def test_a_kill_loses_nothing_whatever_the_doorbell_is(
    installation: Installation, other_queue: str, point: Failpoint
) -> None:
    settings = installation.settings.model_copy(update={"redis_url": other_queue})
    shutil.rmtree(settings.data_dir / "valkey")
    _kill_and_recover(settings, installation.log, "edit", point)
    assert not (settings.data_dir / "valkey").exists()  # none was embedded


def _kill_and_recover(settings: Settings, log: Path, operation: str, point: Failpoint) -> None:
    with started(settings, log, armed=point) as child:
        wait_until(lambda: child.is_ready or not child.process.is_alive(), _WAIT_S)
        try:
            _ask(child.errata, operation)
            wait_until(lambda: _all_ended(child.errata), _WAIT_S, what="the end of all operations")
            if operation not in _UNDOINGS:  # what was committed is seen before the last points are
                child.process.join(_WAIT_S)
        except ServerAway:
            child.process.join(_WAIT_S)
        passed = child.process.is_alive()
    assert passed or child.was_killed, log.read_text()
    assert not passed or operation in _UNDOINGS  # an edit passes every point
    with started(settings, log) as child:
        child.await_ready()
        if operation in _ADDED:
            _ask(child.errata, operation)  # a client that got no answer asks again
        wait_until(lambda: _all_ended(child.errata), _WAIT_S, what="the end of all operations")
        _check_history(child.errata, operation, accepted=point is not Failpoint.ACCEPTING)
    check_weights(settings)


def _all_ended(errata: Errata) -> bool:
    return bool(errata.readiness().waiting == 0)


def _check_history(errata: Errata, operation: str, *, accepted: bool) -> None:
    """Every accepted operation was executed once, in order, and the ledger holds."""
    edits, revisions = list(errata.edits()), list(errata.revisions())
    added = _ADDED.get(operation, 0)
    assert [edit.seq for edit in edits] == list(range(1, len(SUBJECTS) + added + 1))
    made = [edit for revision in revisions if revision.kind == "edit" for edit in revision.edits]
    assert made == [edit.id for edit in edits]  # each once, in the order of seq
    assert len({edit.revision for edit in edits[len(SUBJECTS) :]}) == (added > 0)
    undone = [revision for revision in revisions if revision.kind in ("revert", "rollback")]
    assert len(undone) == (operation in ("revert", "rollback") and accepted)
    assert all(after.parent == before.number for before, after in pairwise(revisions))
    assert errata.verify().ok
    assert errata.complete("Rome", max_tokens=1).revision == revisions[-1].number
