"""One stranger cannot stop the service: limits, deadlines and room on real sockets."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.raw_http import (
    PATIENCE_S,
    Process,
    chunked,
    is_closed,
    pour,
    request,
    serving,
    statuses,
    until_closed,
)
from tests.support.waiting import wait_until

_BIG = "/docs/swagger-ui-bundle.js"
_HEALTH = request("GET", "/healthz")
# A client may be gone before the server asks for its address, and then is from nowhere.
_NO_COMPLAINTS = ("model_not_loaded", "connections_ended", "peer=None")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(Settings(data_dir=tmp_path_factory.mktemp("server"))) as process:
        yield process


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with little patience."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("hurried"),
        header_timeout_s=1,
        body_stall_s=1,
        body_timeout_s=4,
        idle_timeout_s=1,
        write_stall_s=3,
    )
    with serving(settings) as process:
        yield process


@pytest.mark.parametrize(
    ("begun", "filler", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", b"b" * 65536, 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"a: b\r\n" * 10_000, 431),
        (b"GET /healthz HTTP/1.1\r\n", b"n" * 65536, 431),
        (b"GET /", b"b" * 65536, 414),
        (b"", b"\r\n" * 30_000, 431),
        (chunked() + b"2;", b"e" * 65536, 400),
        (chunked() + b"0\r\n", b"a: b\r\n" * 10_000, 400),
        (chunked() + b"0\r\nX: ", b"t" * 65536, 400),
    ],
    ids=["header", "headers", "name", "target", "newlines", "extension", "trailers", "trailer"],
)
def test_a_head_without_end_is_refused_at_once(
    server: Process, begun: bytes, filler: bytes, status: int
) -> None:
    before = server.peak_memory_bytes
    with server.connect() as stranger:
        stranger.sendall(begun)
        pour(stranger, filler, 100_000_000)
        answers = until_closed(stranger)
    assert statuses(answers) in ([status], [])  # a reset may overtake the answer
    assert server.get("/healthz")[0] == 200
    assert server.peak_memory_bytes - before < 30_000_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"b" * 32_768 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"b" * 32_769 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /healthz HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    ],
)
def test_a_refusal_is_a_problem_document_with_the_headers_of_any_answer(
    server: Process, sent: bytes, status: int
) -> None:
    with server.connect() as stranger:
        stranger.sendall(sent)
        answer = until_closed(stranger)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [status]
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    assert b"connection: close" in head
    assert b'"status": %d' % status in body


def test_headers_just_within_the_limits_are_read_even_byte_by_byte(server: Process) -> None:
    many = request("GET", "/healthz", *(b"a%d: b" % number for number in range(99)))
    long = request("GET", "/healthz", b"X: " + b"b" * 32_000)
    with server.connect() as client:
        client.sendall(long)
        for number in range(len(many)):
            client.sendall(many[number : number + 1])
        client.sendall(request("GET", "/healthz", b"Connection: close"))
        assert statuses(until_closed(client)) == [200, 200, 200]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", []),
        (b"GET /hea", [408]),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", [408]),
        (b"\r\n", [408]),
        (_HEALTH, [200]),
        (_HEALTH + b"GET /hea", [200, 408]),
        (chunked() + b"2\r\n{", [408]),
        (request("POST", "/v1/edits", b"Content-Length: 9", body=b"{"), [408]),
        (request("POST", "/nowhere", b"Content-Length: 9", body=b"{"), [408]),
    ],
)
def test_what_is_not_finished_is_not_waited_for(
    hurried: Process, sent: bytes, answered: list[int]
) -> None:
    with hurried.connect() as client:
        client.sendall(sent)
        assert statuses(until_closed(client)) == answered
    hurried.wait_until_alone()


@pytest.mark.parametrize(
    ("sent", "missing"),
    [
        (b"GET /hea", "the headers were not complete after 1 s"),
        (
            chunked() + b"2\r\n{",
            "nothing of the body came for 1 s, or it was not complete after 4 s",
        ),
    ],
)
def test_who_is_late_is_told_what_was_missing_and_what_to_do(
    hurried: Process, sent: bytes, missing: str
) -> None:
    with hurried.connect() as client:
        client.sendall(sent)
        head, _, body = until_closed(client).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    told = f"{missing}; nothing was done: send the whole request again on a new connection"
    assert (problem["status"], problem["detail"]) == (408, told)
    assert problem["error"]["code"] == "request_timeout"


def test_a_body_that_trickles_is_not_waited_for_for_ever(hurried: Process) -> None:
    late = 'errata_http_connections_ended_total{reason="late_body"}'
    before = hurried.value(late)
    with hurried.connect() as client:
        client.sendall(request("POST", "/v1/edits", b"Content-Length: 4000000"))
        client.settimeout(0.2)
        answer = b""
        for _ in range(int(PATIENCE_S / 0.2)):
            try:
                client.sendall(b"{")
                answer += client.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            break
        else:
            pytest.fail("the server waited on")
    assert statuses(answer) in ([408], [])
    wait_until(lambda: hurried.value(late) == before + 1, PATIENCE_S)


def test_who_takes_in_nothing_of_an_answer_is_left_and_who_reads_slowly_is_not(
    hurried: Process,
) -> None:
    with hurried.connect() as silent, hurried.connect() as slow:
        silent.sendall(request("GET", _BIG) * 16)
        slow.sendall(request("GET", _BIG, b"Connection: close"))
        received = 0
        while data := slow.recv(32_768):
            received += len(data)
        assert received > 1_700_000
        hurried.wait_until_alone()


@only_sqlite
def test_silent_strangers_keep_nobody_out(settings: Settings) -> None:
    with serving(settings, descriptors=256) as server, ExitStack() as stack:
        for begun in (b"", b"GET / HTTP/1.1\r\nHo", chunked() + b"2\r\n{"):
            for _ in range(240):
                stranger = stack.enter_context(server.connect())
                stranger.sendall(begun)
            for _ in range(5):
                assert server.get("/healthz")[0] == 200
                assert server.get("/v1/edits")[0] == 200
        assert server.value("process_open_fds") < 256
        assert server.value('errata_http_connections_ended_total{reason="made_way"}') > 240


@only_sqlite
def test_who_is_being_answered_keeps_the_place(settings: Settings, history: History) -> None:
    few = settings.model_copy(update={"max_connections": 8})
    with serving(few) as server, ExitStack() as stack:
        listeners = [stack.enter_context(server.connect()) for _ in range(7)]
        for listener in listeners:
            listener.sendall(request("GET", "/v1/events"))
            assert statuses(listener.recv(65536)) == [200]
        for _ in range(30):
            stack.enter_context(server.connect())
        assert server.get("/healthz")[0] == 200
        history.accept("a")
        for listener in listeners:
            heard = b""
            while b"accepted" not in heard:
                heard += listener.recv(65536)
        last = stack.enter_context(server.connect())
        last.sendall(request("GET", "/v1/events"))
        assert statuses(last.recv(65536)) == [200]
        with server.connect() as refused:
            assert statuses(until_closed(refused)) == [503]
        assert not is_closed(last)


@only_sqlite
def test_one_address_may_not_take_every_place(settings: Settings) -> None:
    few = settings.model_copy(update={"max_connections": 40, "max_connections_per_address": 8})
    with serving(few) as server, ExitStack() as stack:
        other = stack.enter_context(server.connect("127.0.0.2"))
        crowd = [stack.enter_context(server.connect("127.0.0.3")) for _ in range(30)]
        wait_until(lambda: sum(map(is_closed, crowd)) == 22, PATIENCE_S)
        assert not is_closed(other)
        assert server.get("/healthz", "127.0.0.2")[0] == 200


def test_requests_sent_ahead_are_answered_in_order_and_not_without_end(server: Process) -> None:
    close = request("GET", "/nowhere", b"Connection: close")
    with server.connect() as client:
        client.sendall(_HEALTH * 9 + close)
        assert statuses(until_closed(client)) == [200] * 9 + [404]
    with server.connect() as client:
        pour(client, _HEALTH * 1000, 10_000_000)
        answered = statuses(until_closed(client))
    assert set(answered) <= {200}
    assert len(answered) < 200
    server.wait_until_alone()


@only_sqlite
def test_a_request_sent_ahead_does_not_hide_that_its_client_left(settings: Settings) -> None:
    lively = settings.model_copy(update={"keep_alive_s": 0.1, "max_listeners": 1})
    with serving(lively) as server:
        with server.connect() as client:
            client.sendall(request("GET", "/v1/events") + _HEALTH)
            assert statuses(client.recv(65536)) == [200]

        def is_free() -> bool:
            with server.connect() as listener:
                listener.sendall(request("GET", "/v1/events"))
                return statuses(listener.recv(65536)) == [200]

        wait_until(is_free, PATIENCE_S, what="a free place")


def test_an_answer_before_the_body_is_read_by_the_client_that_still_sends(
    server: Process,
) -> None:
    with server.connect() as client:
        client.sendall(request("POST", "/v1/edits", b"Content-Length: 3000000000"))
        pour(client, b"x" * 65536, 2_000_000)
        assert statuses(until_closed(client)) == [413]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        _HEALTH,
        request("GET", _BIG),
        request("GET", "/v1/events"),
        request("GET", "/metrics"),
        request("POST", "/v1/edits", b"Content-Type: application/json", b"Content-Length: 9"),
        request("POST", "/v1/edits", b"Expect: 100-continue", b"Content-Length: 9"),
        chunked() + b"2\r\n{}\r\n",
        chunked() + b"2\r\n{}\r\nzz",
        request("POST", "/v1/completions", b"Content-Length: 9", body=b"{"),
        _HEALTH * 5,
        _HEALTH + chunked(),
        request("GET", "/healthz", b"Upgrade: websocket", b"Connection: Upgrade"),
        b"\x00",
    ],
)
def test_a_client_that_leaves_early_is_no_error(
    server: Process, sent: bytes, *, reset: bool
) -> None:
    for _ in range(10):
        with server.connect() as client:
            client.sendall(sent)
            if reset:
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    server.wait_until_alone()
    complaints = [
        line
        for line in server.log.splitlines()
        if "level='info'" not in line and not any(known in line for known in _NO_COMPLAINTS)
    ]
    assert not complaints
    assert "status=500" not in server.log
