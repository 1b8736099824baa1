"""What docker/nginx.conf promises, by the real nginx: before a real server, and before an echo."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from app.client import Errata
from tests.acceptance.server import Server, calibrate_quickly, environment, running
from tests.support.proxy import Proxy, proxying
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

_LARGE = 20_000_000
_WAIT_S = 60.0

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Site:
    """A server that wants keys, the proxy before it, and a key with all scopes."""

    server: Server
    proxy: Proxy
    key: str

    def client(self, **headers: str) -> httpx2.Client:
        """A client of the proxy."""
        headers["Authorization"] = f"Bearer {self.key}"
        return httpx2.Client(
            base_url=self.proxy.url, headers=headers, verify=self.proxy.trust, timeout=_WAIT_S
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("proxy")
    model = str(build_tiny_model(folder / "tiny"))
    data = folder / "data"
    calibrate_quickly(data)
    made = subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "--scope", "admin"],
        env=environment(data),
        capture_output=True,
        text=True,
        check=True,
    )
    with running(data, model, ERRATA_REDIS_URL="memory://") as server:
        address = server.url.removeprefix("http://")
        # A slow header is given up sooner than in production, so that the test need not wait.
        short = {"client_header_timeout 10s": "client_header_timeout 2s"}
        with proxying(address, folder / "nginx", **short) as proxy:
            yield Site(server, proxy, made.stdout.split()[-1])


def _answer(connection: socket.socket) -> bytes:
    """All that the other side says until it closes."""
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


def test_the_certificate_is_checked_and_plain_http_is_not_spoken(site: Site) -> None:
    with site.client() as client:
        answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    plain = httpx2.get(f"http://localhost:{site.proxy.port}/healthz")
    assert plain.status_code == 400
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(f"{site.proxy.url}/healthz")


def test_an_edit_is_heard_on_a_stream_that_is_still_open(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/v1/events") as events:
        assert events.status_code == 200
        lines = events.iter_lines()
        next(lines)  # it is listening
        with contextlib.closing(Errata(site.server.url, api_key=site.key)) as errata:
            sent = errata.submit("Spain", "The capital of {} is", "Rome", force=True)
        assert any(sent.id in line for line in lines)  # the stream itself never ends


def test_a_long_header_never_reaches_the_service(site: Site) -> None:
    with site.client() as client:
        assert client.get("/healthz", headers={"X-Long": "x" * 9_000}).status_code == 400
        many = {f"X-{number}": "x" * 4_000 for number in range(16)}
        assert client.get("/healthz", headers=many).status_code == 400
        assert client.get(f"/healthz?{'x' * 9_000}").status_code == 414
        assert client.get("/healthz").status_code == 200


def test_an_endless_header_is_cut_off(site: Site) -> None:
    with site.proxy.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(OSError):
            for _ in range(10):
                connection.sendall(b"X-Header: " + b"x" * 4_000 + b"\r\n")
        assert _answer(connection).startswith(b"HTTP/1.1 400 ")  # and then the end


def test_a_header_that_trickles_in_is_cut_off(site: Site) -> None:
    with site.proxy.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.2)
        for _ in range(int(_WAIT_S / 0.2)):
            with contextlib.suppress(TimeoutError):
                if connection.recv(65536) == b"":
                    return
            with contextlib.suppress(OSError):
                connection.sendall(b"X")
        pytest.fail(f"a header may last longer than {_WAIT_S} s")


def test_a_body_that_is_too_long_is_refused_by_the_service_or_before_it(site: Site) -> None:
    with site.client() as client:
        by_service = client.post("/v1/edits", content=b" " * 5_000_000)
        assert by_service.status_code == 413
        assert by_service.headers["Content-Type"] == "application/problem+json"
        assert client.post("/v1/edits", content=b" " * 9_000_000).status_code == 413


def test_the_logs_have_neither_queries_nor_keys(site: Site) -> None:
    with site.client() as client:
        client.get("/healthz?subject=hunter2", headers={"Referer": "https://hunter2"})
        refused = client.post("/v1/edits?subject=hunter2", content=b" " * 9_000_000)
    assert refused.status_code == 413
    logged = site.proxy.log.read_text() + site.proxy.log.with_name("error.log").read_text()
    assert "/v1/edits 413" in logged
    assert "hunter2" not in logged
    assert site.key not in logged


class _Echo(BaseHTTPRequestHandler):
    """Tells what it was sent; a client of /large gets much, one of /silent gets nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.rfile.read(1)
            return
        body = json.dumps(dict(self.headers)).encode()
        if self.path == "/large":
            body = bytes(_LARGE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Nothing to the terminal."""


@pytest.fixture
def echo() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def before_echo(echo: ThreadingHTTPServer, tmp_path: Path) -> Iterator[Proxy]:
    few = {"limit_conn address 100": "limit_conn address 3"}
    with proxying(f"127.0.0.1:{echo.server_port}", tmp_path / "nginx", **few) as proxy:
        yield proxy


def test_the_service_is_told_who_asks_by_the_proxy_alone(before_echo: Proxy) -> None:
    forged = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "elsewhere",
        "Forwarded": "for=192.0.2.7",
        "Via": "1.1 elsewhere",
        "X-Request-ID": "ours-17",
    }
    got = httpx2.get(f"{before_echo.url}/", headers=forged, verify=before_echo.trust).json()
    assert got["X-Forwarded-For"] == "127.0.0.1"
    assert got["X-Forwarded-Proto"] == "https"
    assert got["X-Forwarded-Host"] == got["Host"] == "localhost"
    assert not {"Forwarded", "Via"} & set(got)
    assert got["X-Request-ID"] == "ours-17"


def test_a_large_answer_passes_whole_and_is_not_kept(before_echo: Proxy) -> None:
    answer = httpx2.get(f"{before_echo.url}/large", verify=before_echo.trust, timeout=_WAIT_S)
    assert len(answer.content) == _LARGE
    folder = before_echo.log.parent / "proxy"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_one_address_has_so_many_connections_and_no_more(before_echo: Proxy) -> None:
    request = b"GET /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            held = stack.enter_context(before_echo.connect())
            held.sendall(request % b"silent")

        def status() -> bytes:
            with before_echo.connect() as connection:
                connection.sendall(request % b"")
                return _answer(connection).split()[1]

        # They count once their requests are read, which none of them says.
        wait_until(lambda: status() == b"429", _WAIT_S, what="the refusal")


def test_a_service_that_is_away_is_told_of_as_a_problem(
    echo: ThreadingHTTPServer, before_echo: Proxy
) -> None:
    echo.server_close()
    answer = httpx2.get(f"{before_echo.url}/v1/models", verify=before_echo.trust, timeout=_WAIT_S)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 503
