"""docker/valkey.conf with the users that docker/secrets.sh makes, on a real server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError

from app.access.budget import Budget
from app.access.budget_store import open_store
from app.queue.redis_doorbell import RedisAddress, RedisDoorbell
from tests.support.keyed import SetClock
from tests.support.proxy import REPOSITORY, make_secrets
from tests.support.queues import free_port, serving


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """What the service is told in its secret `queue_url`."""
    secrets = make_secrets(tmp_path / "docker")
    port = free_port()
    text = (REPOSITORY / "docker" / "valkey.conf").read_text()
    for old, new in {
        "bind * -::*": "bind 127.0.0.1",
        "port 6379": f"port {port}",
        "dir /data": f"dir {tmp_path}",
        "/run/secrets/queue_users": str(secrets / "queue_users"),
    }.items():
        assert old in text
        text = text.replace(old, new)
    config = tmp_path / "valkey.conf"
    config.write_text(text)
    told = (secrets / "queue_url").read_text().replace("queue:6379", f"127.0.0.1:{port}")
    with serving(config, told):
        yield told


def _client(url: str, user: str | None = None, password: str | None = None) -> redis.Redis:
    address = url.rpartition("@")[2]
    told = f"redis://{address}" if user is None else f"redis://{user}:{password}@{address}"
    return RedisAddress(url=told).client(timeout_s=5.0)


def test_the_service_may_do_what_it_needs(url: str) -> None:
    bell = RedisDoorbell(RedisAddress(url=url))
    assert bell.wait(1.0)
    bell.ring("edit_1")
    assert bell.wait(1.0)
    bell.acknowledge()
    assert not bell.wait(0.01)
    bell.ping()
    bell.close()
    with ExitStack() as stack:
        budget = Budget("edits", 10, open_store(url, SetClock(), stack))
        charge = budget.charge("key:a", 8, field="edits")
        assert charge is not None
        budget.give_back(charge, 3)


@pytest.mark.parametrize(
    "command",
    ["CONFIG GET dir", "FLUSHALL", "KEYS *", "SHUTDOWN", "REPLICAOF 192.0.2.1 6379", "GET other"],
)
def test_the_service_may_do_nothing_else(url: str, command: str) -> None:
    client = RedisAddress(url=url).client(timeout_s=5.0)
    with pytest.raises(NoPermissionError):
        client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    client.close()


def test_nobody_else_may_do_anything(url: str) -> None:
    stranger = _client(url)
    with pytest.raises(AuthenticationError):
        stranger.ping()
    guesser = _client(url, "errata", "guess")
    with pytest.raises(AuthenticationError):
        guesser.ping()
    prober = _client(url, "health", "health")
    assert prober.ping()
    with pytest.raises(NoPermissionError):
        prober.get("errata:doorbell")
    for client in (stranger, guesser, prober):
        client.close()
