"""The real nginx with docker/nginx.conf, on free ports and in a folder of its own."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.queues import free_port
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
_START_S = 20.0


def make_secrets(folder: Path) -> Path:
    """What docker/secrets.sh makes, made in this folder."""
    folder.mkdir()
    script = folder / "secrets.sh"
    shutil.copy(REPOSITORY / "docker" / "secrets.sh", script)
    subprocess.run(["sh", script], check=True, capture_output=True)
    return folder / "secrets"


@dataclass(frozen=True)
class Proxy:
    """A proxy that accepts connections.

    Attributes:
        port: Of loopback.
        trust: A context that trusts its certificate only.
        log: Its record of requests.
    """

    port: int
    trust: ssl.SSLContext
    log: Path

    @property
    def url(self) -> str:
        """Where it is, by the name in its certificate."""
        return f"https://localhost:{self.port}"

    def connect(self) -> ssl.SSLSocket:
        """A connection on which nothing was sent yet."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60.0)
        return self.trust.wrap_socket(plain, server_hostname="localhost")


@contextmanager
def proxying(service: str, folder: Path, **changes: str) -> Iterator[Proxy]:
    """A proxy before `host:port`; `changes` are other values of directives of its configuration."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx is None:
        assert "CI" not in os.environ, "CI installs nginx (.ci/run)"
        pytest.skip("nginx is not installed")
    secrets = make_secrets(folder)
    port = free_port()
    text = (REPOSITORY / "docker" / "nginx.conf").read_text()
    for old, new in {
        " /tmp/": f" {folder}/",
        "/run/secrets/tls_certificate;": f"{secrets / 'tls.crt'};",
        "/run/secrets/tls_key;": f"{secrets / 'tls.key'};",
        "/dev/stdout": str(folder / "access.log"),
        "listen 8443": f"listen 127.0.0.1:{port}",
        "app:8000": service,
        **changes,
    }.items():
        assert old in text, f"docker/nginx.conf has no {old!r}"
        text = text.replace(old, new)
    config = folder / "nginx.conf"
    config.write_text(text)
    user = "user root; " if os.getuid() == 0 else ""  # the folder is closed to nginx's own
    command = [
        nginx,
        "-e",
        "stderr",
        "-p",
        str(folder),
        "-c",
        str(config),
        "-g",
        f"{user}daemon off;",
    ]
    trust = ssl.create_default_context(cafile=secrets / "tls.crt")
    with (
        (folder / "error.log").open("wb") as errors,
        subprocess.Popen(command, stderr=errors) as process,
    ):
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None, _START_S)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield Proxy(port, trust, folder / "access.log")
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
