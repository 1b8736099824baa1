"""Everything is killed in turn, at random instants, while edits come in; then all must be there."""

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.client import Refused, ServerAway
from app.queue.embedded import EmbeddedValkey
from app.settings import Settings
from tests.crash.child import start, start_worker_process
from tests.crash.weights import check_weights
from tests.support.postgres import crash, new_schema, running_postgres
from tests.support.waiting import wait_until

_SEED = 20260101
_PAUSE_S = (1.0, 5.0)  # between two kills
_WAIT_S = 300.0

pytestmark = [pytest.mark.crash, pytest.mark.postgres]


class Site:
    """A server, a worker of its own, an embedded queue and a PostgreSQL, each of which may die."""

    def __init__(self, settings: Settings, log: Path, postgres: Any) -> None:
        self.settings, self._log, self._postgres = settings, log, postgres
        self.server = start(settings, log)
        self._servers = [self.server]
        self._worker = start_worker_process(settings, log)

    def kill_server(self) -> None:
        """SIGKILL, and a new one."""
        self.server.kill()
        self.server = start(self.settings, self._log)
        self._servers.append(self.server)

    def kill_worker(self) -> None:
        """SIGKILL, and a new one."""
        self._worker.kill()
        self._worker.join()
        self._worker = start_worker_process(self.settings, self._log)

    def kill_queue(self) -> None:
        """SIGKILL; who uses it starts it again."""
        pid = EmbeddedValkey(self.settings.data_dir).pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def kill_database(self) -> None:
        """Every process of it at once, and a new one."""
        crash(self._postgres)
        self._postgres.ensure_postgres_running()

    def supervise(self) -> None:
        """Start what has ended by itself: a process that found no database at its start."""
        if not self.server.process.is_alive():
            self.server = start(self.settings, self._log)
            self._servers.append(self.server)
        if not self._worker.is_alive():
            self._worker = start_worker_process(self.settings, self._log)

    @property
    def victims(self) -> Sequence[Callable[[], None]]:
        """All that can be killed."""
        return (self.kill_server, self.kill_worker, self.kill_queue, self.kill_database)

    def end(self) -> None:
        """Stop it in order."""
        for server in self._servers:
            server.errata.close()
        self.server.end()
        self._worker.terminate()
        self._worker.join(_WAIT_S)


@pytest.fixture
def site(template: Settings, tmp_path: Path) -> Iterator[Site]:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copytree(template.data_dir / "recipes", data / "recipes")
    for name in ("recipe.json", "calibration.txt"):
        (data / name).write_bytes((template.data_dir / name).read_bytes())
    with running_postgres() as postgres:
        url = new_schema(postgres).replace("postgresql://", "postgresql+psycopg://", 1)
        own = {"data_dir": data, "database_url": url, "worker": "external", "queue_poll_s": 1.0}
        site = Site(template.model_copy(update=own), tmp_path / "log", postgres)
        yield site
        site.end()
        check_weights(site.settings)


class Client:
    """Hands in edits one by one until each has ended, whoever dies meanwhile."""

    def __init__(self, site: Site, count: int) -> None:
        self._site, self._count = site, count
        self.accepted: list[str] = []
        self._thread = threading.Thread(target=self._submit_all)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether every edit has ended."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Let time pass, but not beyond the last edit's end."""
        self._thread.join(seconds)

    def _submit_all(self) -> None:
        for number in range(self._count):
            wait_until(partial(self._submit, number), _WAIT_S)
            wait_until(self._has_ended, _WAIT_S)

    def _submit(self, number: int) -> bool:
        try:
            sent = self._site.server.errata.submit(
                f"Place {number}",
                "The capital of {} is",
                "Rome",
                force=True,
                idempotency_key=str(number),
            )
        except (ServerAway, Refused):
            return False
        self.accepted.append(sent.id)
        return True

    def _has_ended(self) -> bool:
        try:
            newest = self._site.server.errata.edit(self.accepted[-1])
        except (ServerAway, Refused):
            return False
        return newest.status not in ("accepted", "running")


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(25, marks=pytest.mark.timeout(400)),
        pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(3000)]),
    ],
)
def test_whatever_is_killed_every_edit_commits_once_and_in_order(site: Site, count: int) -> None:
    chance, client = random.Random(_SEED), Client(site, count)
    while not client.is_done:
        for kill in chance.sample(site.victims, len(site.victims)):
            client.wait(chance.uniform(*_PAUSE_S))
            kill()
            site.supervise()
    wait_until(partial(_is_settled, site), _WAIT_S, what="the end of every edit")
    errata = site.server.errata
    edits = list(errata.edits())
    assert [edit.id for edit in edits] == client.accepted
    assert [edit.seq for edit in edits] == list(range(1, count + 1))
    assert {edit.status for edit in edits} == {"committed"}
    made = [edit for revision in errata.revisions() for edit in revision.edits]
    assert made == client.accepted
    assert errata.verify().ok


def _is_settled(site: Site) -> bool:
    """Whether nothing waits; not while the server cannot say."""
    site.supervise()
    try:
        return site.server.errata.readiness().waiting == 0
    except (ServerAway, Refused):
        return False
