"""What the worker relies on, of every doorbell alike."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.queue.doorbell import Doorbell
from app.queue.embedded import EmbeddedValkey
from app.queue.memory_doorbell import MemoryDoorbell
from app.queue.redis_doorbell import RedisAddress, RedisDoorbell
from tests.support.queues import BINARIES, choose_binary, running_redis

_WAIT_S = 5.0

Open = Callable[[], Doorbell]


@pytest.fixture(params=["memory", *BINARIES, "remote"])
def open_doorbell(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Opens the doorbell of one installation; again, as after a restart."""
    with ExitStack() as stack:
        make: Open = MemoryDoorbell
        if request.param == "remote":
            address = RedisAddress(url=stack.enter_context(running_redis(tmp_path / "remote")))
            make = lambda: RedisDoorbell(address)  # noqa: E731
        elif request.param in BINARIES:
            choose_binary(request.param, monkeypatch)
            server = EmbeddedValkey(tmp_path / "data")
            stack.callback(server.stop)
            server.start()
            make = lambda: RedisDoorbell(server.address, revive=server.start)  # noqa: E731

        def opened() -> Doorbell:
            bell = make()
            stack.callback(bell.close)
            return bell

        yield opened


@pytest.fixture
def doorbell(open_doorbell: Open) -> Doorbell:
    bell = open_doorbell()
    assert bell.wait(_WAIT_S)
    bell.acknowledge()
    return bell


def test_the_first_wait_says_look(open_doorbell: Open) -> None:
    bell = open_doorbell()
    assert bell.wait(_WAIT_S)
    bell.acknowledge()
    assert not bell.wait(0.01)


def test_a_ring_wakes_a_waiting_worker(doorbell: Doorbell) -> None:
    heard: list[bool] = []
    worker = threading.Thread(target=lambda: heard.append(doorbell.wait(2.0)))
    worker.start()
    doorbell.ring("edit_1")
    worker.join()
    assert heard == [True]


def test_rings_are_heard_until_they_are_acknowledged(doorbell: Doorbell) -> None:
    doorbell.ring("edit_1")
    doorbell.ring("edit_2")
    assert doorbell.wait(_WAIT_S)
    assert doorbell.wait(_WAIT_S)
    doorbell.acknowledge()
    assert not doorbell.wait(0.01)


def test_a_ring_after_the_worker_looked_survives_its_acknowledgement(doorbell: Doorbell) -> None:
    doorbell.ring("edit_1")
    assert doorbell.wait(_WAIT_S)
    doorbell.ring("edit_2")
    doorbell.acknowledge()
    assert doorbell.wait(_WAIT_S)
    doorbell.acknowledge()
    assert not doorbell.wait(0.01)


def test_no_ring_among_many_threads_goes_unheard(doorbell: Doorbell) -> None:
    rung = threading.Barrier(9)

    def ring() -> None:
        rung.wait()
        for number in range(50):
            doorbell.ring(f"edit_{number}")

    ringers = [threading.Thread(target=ring) for _ in range(8)]
    for ringer in ringers:
        ringer.start()
    rung.wait()
    while any(ringer.is_alive() for ringer in ringers):
        doorbell.wait(0.01)
        doorbell.acknowledge()
    doorbell.ring("the last")
    assert doorbell.wait(_WAIT_S)
    doorbell.acknowledge()
    assert not doorbell.wait(0.01)


def test_what_a_killed_worker_did_not_acknowledge_sends_its_successor_to_look(
    open_doorbell: Open, doorbell: Doorbell
) -> None:
    doorbell.ring("edit_1")
    assert doorbell.wait(_WAIT_S)
    successor = open_doorbell()
    assert successor.wait(_WAIT_S)
    successor.acknowledge()
    assert not successor.wait(0.01)


def test_a_doorbell_that_is_there_gives_a_sign_of_life(doorbell: Doorbell) -> None:
    doorbell.ping()


def test_closing_ends_a_wait_in_another_thread(doorbell: Doorbell) -> None:
    worker = threading.Thread(target=doorbell.wait, args=(60.0,))
    worker.start()
    doorbell.close()
    worker.join(_WAIT_S)
    assert not worker.is_alive()
