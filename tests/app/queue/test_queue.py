import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import QueueUnavailable
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import GROUP, STREAM, RedisAddress, RedisDoorbell
from tests.support.queues import BINARIES, choose_binary
from tests.support.waiting import wait_until


@pytest.fixture(params=BINARIES)
def valkey(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedValkey]:
    choose_binary(request.param, monkeypatch)
    server = EmbeddedValkey(tmp_path / "data")
    server.start()
    yield server
    server.start()
    server.stop()


@pytest.fixture
def doorbell(valkey: EmbeddedValkey) -> Iterator[RedisDoorbell]:
    bell = RedisDoorbell(valkey.address, revive=valkey.start)
    bell.wait(0.01)  # whoever comes first looks into the database anyway
    yield bell
    bell.close()


def _pid(valkey: EmbeddedValkey) -> int:
    pid = valkey.pid
    assert pid is not None
    return pid


def test_acknowledged_rings_leave_the_stream_empty(
    valkey: EmbeddedValkey, doorbell: RedisDoorbell
) -> None:
    for number in range(5):
        doorbell.ring(f"edit_{number}")
    doorbell.wait(1.0)
    doorbell.acknowledge()
    client = valkey.address.client(timeout_s=1.0)
    assert client.xlen(STREAM) == 0
    client.close()


def test_a_killed_server_is_started_again_and_remembers_the_rings(
    valkey: EmbeddedValkey, doorbell: RedisDoorbell
) -> None:
    doorbell.ring("edit_1")
    before = _pid(valkey)
    os.kill(before, signal.SIGKILL)
    assert doorbell.wait(1.0)
    assert _pid(valkey) != before
    client = valkey.address.client(timeout_s=1.0)
    assert client.xlen(STREAM) == 1
    client.close()


def test_a_flushed_server_says_look(valkey: EmbeddedValkey, doorbell: RedisDoorbell) -> None:
    client = valkey.address.client(timeout_s=1.0)
    client.flushall()
    assert doorbell.wait(1.0)
    assert not doorbell.wait(0.01)
    doorbell.ring("edit_1")
    assert doorbell.wait(1.0)
    client.xgroup_destroy(STREAM, GROUP)
    assert doorbell.wait(1.0)
    client.close()


def test_ringing_a_server_that_is_absent_or_hangs_neither_fails_nor_blocks(
    valkey: EmbeddedValkey, doorbell: RedisDoorbell, tmp_path: Path
) -> None:
    absent = RedisDoorbell(RedisAddress(unix_socket=str(tmp_path / "nobody")))
    absent.ring("edit_1")
    assert not absent.wait(0.01)
    with pytest.raises(QueueUnavailable):
        absent.ping()
    absent.close()
    pid = _pid(valkey)
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        doorbell.ring("edit_1")
        assert time.monotonic() - started < 1.0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert _pid(valkey) == pid


def test_closing_ends_the_wait_of_a_worker_whose_server_is_gone(tmp_path: Path) -> None:
    bell = RedisDoorbell(RedisAddress(unix_socket=str(tmp_path / "nobody")))
    worker = threading.Thread(target=bell.wait, args=(60.0,))
    worker.start()
    bell.close()
    worker.join(5.0)
    assert not worker.is_alive()


def test_two_processes_share_one_server_and_the_last_one_stops_it(valkey: EmbeddedValkey) -> None:
    second = EmbeddedValkey(valkey.folder.parent)
    second.start()
    assert second.pid == valkey.pid
    second.stop()
    assert valkey.pid is not None
    valkey.stop()
    assert valkey.pid is None


def test_a_long_data_directory_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / ("d" * 120))
    server.start()
    assert server.pid is not None
    server.stop()


_KILLED = """
import sys, time
from pathlib import Path
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import RedisDoorbell
server = EmbeddedValkey(Path(sys.argv[1]))
server.start()
RedisDoorbell(server.address).ring("edit_1")
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.crash
def test_the_server_of_a_killed_service_is_adopted_with_its_rings(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        orphan = int(service.stdout.readline())
        service.kill()
    successor = EmbeddedValkey(tmp_path / "data")
    successor.start()
    assert successor.pid == orphan
    bell = RedisDoorbell(successor.address)
    assert bell.wait(1.0)
    assert bell.wait(1.0)  # the ring itself, not only the new group
    bell.close()
    successor.stop()
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), 5.0, what="the orphan's end")
