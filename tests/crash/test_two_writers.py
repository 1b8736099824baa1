"""Two processes on one database: one writes, and one that lost the right to cannot."""

import os
import signal
from contextlib import closing
from functools import partial

import pytest

from app.database.database import Database
from app.errors import DatabaseUnavailable
from app.kit.failpoints import Failpoint
from tests.crash.child import Child, started
from tests.crash.conftest import Installation
from tests.support.waiting import wait_until

_WAIT_S = 60.0
_HEAD = 2  # of the template
_MOST_TRIES = 5

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def _submit(child: Child, subject: str) -> str:
    return child.errata.submit(subject, "The capital of {} is", "Rome", force=True).id


def _serves(child: Child, revision: int) -> bool:
    return child.errata.readiness().revision == revision


def _submit_until_frozen(child: Child, frozen: Child, database: Database) -> str:
    """The edit at which the frozen process holds no transaction.

    In one, say of its lease's beat, SQLite would keep everybody out until it goes on.
    """
    for number in range(_MOST_TRIES):
        edit = _submit(child, f"Spain {number}")  # the frozen one could not even answer
        wait_until(lambda: _is_stopped(frozen.pid), _WAIT_S, what="the failpoint")
        try:
            with database.write() as session:
                session.connection()  # begins the transaction
            return edit
        except DatabaseUnavailable:
            os.kill(frozen.pid, signal.SIGCONT)
            assert child.errata.wait(edit, _WAIT_S).status == "committed"
    raise AssertionError(f"frozen in a transaction, {_MOST_TRIES} times of {_MOST_TRIES}")


def _is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - no regular file
        return file.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("template", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("point", [Failpoint.CLAIMED, Failpoint.ARTEFACT_STORED])
def test_a_frozen_writer_cannot_commit_what_another_has_taken_over(
    installation: Installation, point: Failpoint
) -> None:
    settings, log = installation.settings, installation.log
    with started(settings, log, armed=f"{point}:stop") as frozen:
        frozen.await_ready()
        with started(settings, log) as other:
            other.await_ready()
            with closing(Database(settings.database_url)) as database:
                edit = _submit_until_frozen(other, frozen, database)
            head = other.errata.wait(edit, _WAIT_S).revision
            assert head is not None
            os.kill(frozen.pid, signal.SIGCONT)
            # It finds its lease gone, drops what it computed, and follows.
            wait_until(partial(_serves, frozen, head), _WAIT_S)
            later = other.errata.wait(_submit(frozen, "Greece"), _WAIT_S)
            assert (later.status, later.revision) == ("committed", head + 1)
            assert [r.number for r in other.errata.revisions()] == list(range(head + 2))
            assert other.errata.revision(head).edits == [edit]
            assert other.errata.verify().ok


@pytest.mark.parametrize("template", ["sqlite", "postgres"], indirect=True)
def test_one_of_two_writes_and_the_other_takes_over_when_it_ends(
    installation: Installation,
) -> None:
    settings, log = installation.settings, installation.log
    with started(settings, log) as second_to_end:
        with started(settings, log) as first_to_end:
            first_to_end.await_ready()
            second_to_end.await_ready()
            sent = [_submit(first_to_end, f"Place {number}") for number in range(4)]
            found = [second_to_end.errata.wait(id, _WAIT_S) for id in sent]
            assert {edit.status for edit in found} == {"committed"}
            head = second_to_end.errata.revision("head").number
            for child in (first_to_end, second_to_end):
                wait_until(partial(_serves, child, head), _WAIT_S)
        after = second_to_end.errata.wait(_submit(second_to_end, "Norway"), _WAIT_S)
        assert (after.status, after.revision) == ("committed", head + 1)
        made = [edit for r in second_to_end.errata.revisions() for edit in r.edits][_HEAD:]
        assert made == [*sent, after.id]
