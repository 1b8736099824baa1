"""A server process without a model, as `errata serve` starts it, and clients with no manners."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
_HEADER = b"Host: localhost\r\n"

_SERVER = """
import resource, socket, sys
from app.main import Components, create_app
from app.kit.logs import configure
from app.cli.serve import StreamingServer, http_config
from app.settings import Settings
from tests.support.service import load_nothing

if descriptors := int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
configure("console", "info")
settings = Settings.model_validate_json(sys.argv[1])
app = create_app(settings, components=Components(start_runtime=load_nothing))
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
StreamingServer(http_config(app, log_config=None)).run(sockets=[listening])
"""


@dataclass(frozen=True)
class Process:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    _log: Path

    @property
    def log(self) -> str:
        """What it has written to its log."""
        return self._log.read_text()

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection on which nothing was sent yet."""
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=PATIENCE_S, source_address=(source, 0)
        )

    def get(self, path: str, source: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body of an honest request."""
        client = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_S, source_address=(source, 0)
        )
        with closing(client):
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def value(self, series: str) -> float:
        """A series as it is scraped; 0 if there is none."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return 0.0 if found is None else float(found[1])

    def wait_until_alone(self) -> None:
        """Wait until the connection that asks is the only one."""
        wait_until(
            lambda: self.value("errata_http_connections") == 1, PATIENCE_S, what="no one else"
        )


@contextmanager
def serving(settings: Settings, *, descriptors: int = 0) -> Iterator[Process]:
    """A server process; ended hard, if it still runs."""
    command = [sys.executable, "-c", _SERVER, settings.model_dump_json(), str(descriptors)]
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            server = Process(process, port, Path(log.name))
            assert server.get("/healthz")[0] == 200
            yield server
        finally:
            process.kill()


def request(method: str, path: str, *headers: bytes, body: bytes = b"") -> bytes:
    """A request's bytes."""
    line = f"{method} {path} HTTP/1.1\r\n".encode()
    return line + _HEADER + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def chunked(*headers: bytes) -> bytes:
    """The head of a request whose body comes in chunks."""
    return request(
        "POST",
        "/v1/edits",
        b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
        *headers,
    )


def pour(connection: socket.socket, filler: bytes, most: int) -> None:
    """Send the same again and again, up to so many bytes or until the server has enough."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            connection.sendall(filler)
            sent += len(filler)


def until_closed(connection: socket.socket) -> bytes:
    """Everything the server sends before it closes; a reset is as good."""
    received = bytearray()
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    return bytes(received)


def statuses(answers: bytes) -> list[int]:
    """The status of each answer."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; what it sent before is dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def stop(server: Process, number: signal.Signals = signal.SIGTERM) -> int:
    """Tell it to end; its status."""
    server.process.send_signal(number)
    return server.process.wait(PATIENCE_S)
