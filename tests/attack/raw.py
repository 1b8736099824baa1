"""Requests as an attacker makes them: by hand, over sockets, in whatever form."""

import http.client
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

# Not the address of the legitimate client: limits may be those of an address.
ATTACKER = "127.0.0.66"
_KEPT_BYTES = 65_536
_TIMEOUT_S = 30.0
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Target:
    """A server, as one caller reaches it.

    Attributes:
        host: Address of the server.
        port: Port of the server.
        key: API key of the caller, if it has one.
        source: Address that the caller connects from.
    """

    host: str
    port: int
    key: str | None = None
    source: str = ATTACKER

    @property
    def headers(self) -> dict[str, str]:
        """What says who asks."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def connect(self, timeout_s: float = _TIMEOUT_S) -> socket.socket:
        """A connection on which nothing was sent yet."""
        return socket.create_connection((self.host, self.port), timeout_s, (self.source, 0))

    def head(self, method: str, path: str, length: int | None = None, **more: str) -> bytes:
        """Request line and headers; underscores in names of headers stand for hyphens."""
        headers = {"Host": f"{self.host}:{self.port}", **self.headers}
        if length is not None:
            headers |= {**_JSON, "Content-Length": str(length)}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        outcome: The status, `closed` where the server closed without one, `open` where it did
            neither in time.
        body: The beginning of the body.
        size: Bytes of the whole body.
        sent: Bytes that the server took.
        headers: Those of the answer.
    """

    outcome: str
    body: bytes = b""
    size: int = 0
    sent: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        """The stable name of the problem, if the answer is a problem document."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Request:
    """One whole request."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def post(cls, path: str, body: bytes | object, **headers: str) -> "Request":
        """A POST of JSON, made here or ready."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls("POST", path, content, _JSON | named)


def ask(target: Target, request: Request, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Send a whole request on a connection of its own and read the whole answer."""
    sent = len(request.body or b"")
    connection = http.client.HTTPConnection(
        target.host, target.port, timeout=timeout_s, source_address=(target.source, 0)
    )
    headers = {**target.headers, **request.headers}
    try:
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        kept, size = response.read(_KEPT_BYTES), 0
        while more := response.read(1 << 20):
            size += len(more)
        said = {name.lower(): value for name, value in response.getheaders()}
        return Answer(str(response.status), kept, len(kept) + size, sent, said)
    except TimeoutError:
        return Answer("open", sent=sent)
    except (OSError, http.client.HTTPException):
        return Answer("closed", sent=sent)
    finally:
        connection.close()


def ask_all(
    target: Target, requests: Iterable[Request], *, at_once: int, timeout_s: float = _TIMEOUT_S
) -> list[Answer]:
    """Send requests, so many at a time, and read all answers."""
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(lambda request: ask(target, request, timeout_s), requests))


def answer_of(connection: socket.socket, timeout_s: float, sent: int = 0) -> Answer:
    """Read until the server closes the connection; `open` if it does not in time."""
    deadline, received = time.monotonic() + timeout_s, b""
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            part = connection.recv(_KEPT_BYTES)
        except TimeoutError:
            break
        except OSError:
            part = b""
        if not part:
            return replace(_parsed(received), sent=sent)
        received = (received + part)[:_KEPT_BYTES]
    outcome = _parsed(received).outcome
    return Answer("open" if outcome == "closed" else outcome, received, sent=sent)


def statuses(received: bytes) -> list[str]:
    """Every status in what was read from a connection."""
    return [part[:3].decode("latin-1") for part in received.split(b"HTTP/1.1 ")[1:]]


def _parsed(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    found = statuses(head)
    return Answer(found[0] if found else "closed", body, len(body))


def exchange(target: Target, data: bytes, timeout_s: float) -> bytes:
    """All that a connection gives for what is sent on it, until it is closed or falls silent."""
    received = b""
    with target.connect(timeout_s) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(_KEPT_BYTES):
                received += part
        except OSError:  # silence, or a reset
            return received
    return received


def flood(target: Target, opening: bytes, chunk: bytes, limit: int) -> Answer:
    """Send the opening and then chunk after chunk, until the server refuses or the limit."""
    sent = 0
    with target.connect() as connection:
        try:
            connection.sendall(opening)
            while sent < limit:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # it refuses: what it said is read below
        return answer_of(connection, 15.0, sent)


def hold(
    target: Target,
    openings: Sequence[bytes],
    patience_s: float,
    drip: Callable[[socket.socket], object] | None = None,
) -> list[Answer]:
    """Open a connection an opening, send that, and see what the server makes of the silence.

    Args:
        target: Who is asked.
        openings: What is sent on each connection.
        patience_s: How long the connections are held.
        drip: Called with each connection that is still open, four times a second.
    """
    held, ended = dict[socket.socket, bytes](), list[Answer]()
    for opening in openings:
        try:
            connection = target.connect(5.0)
            connection.sendall(opening)
        except OSError:
            ended.append(Answer("closed"))
        else:
            held[connection] = b""
    deadline = time.monotonic() + patience_s
    while held and time.monotonic() < deadline:
        for connection in _readable(held, 0.25):
            part = _received(connection)
            held[connection] += part[:_KEPT_BYTES]
            if not part:
                ended.append(_parsed(held.pop(connection)))
                connection.close()
        if drip is not None:
            _drip(held, drip)
    for connection in held:
        connection.close()
    return ended + [Answer("open")] * len(held)


def _readable(held: Iterable[socket.socket], wait_s: float) -> list[socket.socket]:
    poll = select.poll()
    by_number = {connection.fileno(): connection for connection in held}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(wait_s * 1000)]


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_KEPT_BYTES)
    except OSError:
        return b""


def _drip(held: Iterable[socket.socket], drip: Callable[[socket.socket], object]) -> None:
    for connection in held:
        try:
            drip(connection)
        except OSError:
            continue  # it was closed; the next look finds that


def outcomes(answers: Iterable[Answer]) -> Counter[str]:
    """How many answers of each kind there are."""
    return Counter(answer.outcome for answer in answers)
