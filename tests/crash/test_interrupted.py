"""Real processes that are killed, or told to stop, with a batch in hand."""

import os
import signal
import time
from contextlib import closing, suppress

import pytest

from app.client import Errata, ServerAway
from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.operations import Operation
from app.kit.failpoints import Failpoint
from app.operations import repository as operations
from app.settings import Settings
from tests.crash.child import started
from tests.crash.conftest import Installation
from tests.support.waiting import wait_until

_WAIT_S = 60.0
_KILLS = 3  # as many as an edit has attempts
_STOP_S = 10.0
_MANY = 200

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def _submit(errata: Errata, count: int, *, atomic: bool = False) -> list[str]:
    edits = [
        {"subject": f"Place {n}", "prompt": "The capital of {} is", "target": "Rome", "force": True}
        for n in range(count)
    ]
    return [edit.id for edit in errata.submit_batch(edits, atomic=atomic).edits]


def _operations(settings: Settings, ids: list[str]) -> list[Operation]:
    with closing(Database(settings.database_url)) as database, database.read() as session:
        return [operations.get(session, id) for id in ids]


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_kills_with_a_batch_in_hand_are_no_fault_of_its_edits(installation: Installation) -> None:
    settings, log = installation.settings, installation.log
    with started(settings, log) as child:
        child.await_ready()
        child.errata.queue.pause()
        ids = _submit(child.errata, 4)
    for _ in range(_KILLS):
        with started(settings, log, armed=Failpoint.CLAIMED) as child:
            wait_until(lambda: child.answers or not child.process.is_alive(), _WAIT_S)
            with suppress(ServerAway):  # it is killed before it answers, or was already
                child.errata.queue.resume()
            child.process.join(_WAIT_S)
            assert child.was_killed
    with started(settings, log) as child:
        child.await_ready()
        ended = [child.errata.wait(id, _WAIT_S) for id in ids]
        assert {edit.status for edit in ended} == {"committed"}
        # The first was alone in every kill but the first, and the others in none.
        assert [edit.attempts for edit in ended] == [_KILLS, 1, 1, 1]
        assert child.errata.verify().ok


@pytest.mark.parametrize("template", ["sqlite", "postgres"], indirect=True)
def test_a_stop_while_an_edit_is_computed_ends_in_time_and_is_no_attempt(
    installation: Installation,
) -> None:
    settings, log = installation.settings, installation.log
    with started(settings, log) as child:
        child.await_ready()
        ids = _submit(child.errata, _MANY, atomic=True)
        wait_until(lambda: child.errata.edit(ids[0]).status == "running", _WAIT_S)
        asked = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        child.process.join(_WAIT_S)
        assert time.monotonic() - asked < _STOP_S + 1.0
        assert not child.process.is_alive()
    found = _operations(settings, ids)
    assert {(o.status.value, o.attempts, o.alone) for o in found} == {
        (EditStatus.ACCEPTED.value, 0, False)
    }
