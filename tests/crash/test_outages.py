"""Queue, database and disk fail under a running server: nothing accepted is lost, readers go on."""

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client import Errata, Refused
from app.deps.services import Services
from app.main import Components, create_app, start_worker
from app.queue.embedded import EmbeddedValkey
from app.settings import Settings
from app.startup import Runtime
from tests.crash.child import Child, started
from tests.crash.conftest import Installation
from tests.support.keyed import first_key
from tests.support.local_client import local_client
from tests.support.postgres import crash, new_schema, running_postgres
from tests.support.waiting import wait_until

_WAIT_S = 60.0
_BACK_S = 10.0  # from the return of what was away to the last commit
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_FULL = (1, resource.RLIM_INFINITY)  # bytes that a file may hold

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def _submit(child: Child, subject: str) -> str:
    return child.errata.submit(subject, "The capital of {} is", "Rome", force=True).id


def _submit_some(child: Child) -> list[str]:
    return [_submit(child, f"Place {number}") for number in range(3)]


def _await_commits(child: Child, ids: list[str], timeout_s: float) -> None:
    """All committed, in the order in which they were accepted."""

    def committed() -> list[str]:
        return [edit for r in child.errata.revisions() for edit in r.edits if edit in ids]

    wait_until(lambda: committed() == ids, timeout_s, what="every edit committed, in order")


def _answers(child: Child) -> bool:
    return child.errata.complete("Rome", max_tokens=1).revision >= 0


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A queue of the operator's own, not started yet."""
    server = EmbeddedValkey(tmp_path / "queue")
    yield server
    server.stop()


@pytest.fixture
def served(installation: Installation, valkey: EmbeddedValkey) -> Iterator[Child]:
    """A server that uses the operator's queue."""
    url = f"unix://{valkey.address.unix_socket}"
    update = {"redis_url": url, "queue_poll_s": 1.0}
    settings = installation.settings.model_copy(update=update)
    with started(settings, installation.log) as child:
        wait_until(lambda: child.answers, _WAIT_S)
        yield child


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_without_a_queue_edits_are_accepted_and_commit(
    served: Child, valkey: EmbeddedValkey
) -> None:
    del valkey
    wait_until(lambda: "queue" in _reason(served), _WAIT_S, what="the queue's absence told")
    ids = _submit_some(served)
    _await_commits(served, ids, _WAIT_S)
    assert _answers(served)


def _reason(child: Child) -> str:
    try:
        child.errata.readiness()
    except Refused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize("outage", ["kill", "pause", "flush"])
def test_a_queue_that_fails_and_returns_delays_edits_by_seconds(
    served: Child, valkey: EmbeddedValkey, outage: str
) -> None:
    valkey.start()
    wait_until(lambda: served.is_ready, _WAIT_S)
    pid = valkey.pid
    assert pid is not None
    if outage == "flush":
        valkey.address.client(timeout_s=5.0).flushall()
    else:
        os.kill(pid, signal.SIGKILL if outage == "kill" else signal.SIGSTOP)
    ids = _submit_some(served)
    assert _answers(served)
    if outage == "kill":
        wait_until(lambda: valkey.pid is None, _WAIT_S)
        valkey.start()
    elif outage == "pause":
        os.kill(pid, signal.SIGCONT)
    _await_commits(served, ids, _BACK_S)
    wait_until(lambda: served.is_ready, _WAIT_S)


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def on_own_postgres(template: Settings, tmp_path: Path, own_postgres: Any) -> Settings:
    """A new installation on a database that a test may end."""
    url = new_schema(own_postgres).replace("postgresql://", "postgresql+psycopg://", 1)
    data = tmp_path / "data"
    data.mkdir()
    shutil.copytree(template.data_dir / "recipes", data / "recipes")
    for name in ("recipe.json", "calibration.txt"):
        (data / name).write_bytes((template.data_dir / name).read_bytes())
    return template.model_copy(update={"data_dir": data, "database_url": url})


@pytest.mark.postgres
@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_a_database_that_goes_away_while_the_model_loads_is_waited_for(
    on_own_postgres: Settings, own_postgres: Any
) -> None:
    starts = 0

    def start_runtime(services: Services) -> Runtime:
        nonlocal starts
        starts += 1
        if starts == 1:
            crash(own_postgres)
        return start_worker(services)

    app = create_app(on_own_postgres, components=Components(start_runtime=start_runtime))
    with local_client(app) as client:
        wait_until(lambda: starts > 1, _WAIT_S, what="a second start")
        own_postgres.ensure_postgres_running()
        wait_until(lambda: client.get("/readyz").status_code == 200, _WAIT_S)


@pytest.mark.postgres
@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_without_its_database_a_server_answers_queries_and_accepts_nothing(
    on_own_postgres: Settings, tmp_path: Path, own_postgres: Any
) -> None:
    settings = on_own_postgres
    with started(settings, tmp_path / "log") as child:
        child.await_ready()
        # Without a key nobody is let in while it cannot be found out whether one was made.
        child.errata = Errata(child.url, first_key(settings))
        before = _submit(child, "Spain")
        crash(own_postgres)
        with pytest.raises(Refused) as refused:
            _submit(child, "Greece")
        assert refused.value.status == 503
        assert _answers(child)
        own_postgres.ensure_postgres_running()
        wait_until(lambda: child.is_ready, _WAIT_S)
        _await_commits(child, [before, _submit(child, "Norway")], _WAIT_S)
        assert child.errata.verify().ok


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_a_full_disk_refuses_edits_and_loses_none(installation: Installation) -> None:
    with started(installation.settings, installation.log) as child:
        child.await_ready()
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, _FULL)
        with pytest.raises(Refused) as refused:
            _submit(child, "Spain")
        assert refused.value.status == 503
        assert _answers(child)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, _UNLIMITED)
        _await_commits(child, _submit_some(child), _WAIT_S)
        assert child.errata.verify().ok


@pytest.mark.postgres
@pytest.mark.parametrize("template", ["postgres"], indirect=True)
def test_factors_that_do_not_fit_on_the_disk_are_written_once_they_do(
    installation: Installation,
) -> None:
    artefacts = installation.settings.data_dir / "artefacts"
    kept = set(artefacts.iterdir())
    with started(installation.settings, installation.log) as child:
        child.await_ready()
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, _FULL)
        ids = _submit_some(child)  # the database is elsewhere, and has room
        wait_until(lambda: child.errata.edit(ids[0]).status == "running", _WAIT_S)
        assert _answers(child)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, _UNLIMITED)
        _await_commits(child, ids, _WAIT_S)
        assert child.errata.edit(ids[0]).attempts == 1  # an outage is not the edit's fault
        assert not list(artefacts.glob("*.partial"))
    assert len(set(artefacts.iterdir()) - kept) in (1, 2, 3)
