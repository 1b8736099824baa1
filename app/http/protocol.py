"""HTTP/1.1 with an end to everything that a client may leave open.

uvicorn's protocol parses and answers; it has no limit on a head, no deadline before an answer, and
no bound on requests sent ahead. `docs/decisions/access.md` says why it is not replaced.
"""

import asyncio
import socket
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from app.http.connections import ConnectionLimits, Connections, Ending
from app.http.limits import Body, Head, Refusal
from app.http.problems import MEDIA_TYPE, problem_document
from app.http.security_headers import API_HEADERS

_SENT_AHEAD = 16  # requests that may wait behind the one being answered
_LINGER_S = 2.0  # for a client to read a refusal while it still sends


_UNREADABLE = Refusal(400, "bad_request", "this is not a request of HTTP/1.1")
_ENDING = Refusal(503, "unavailable", "the service ends; try again later")
_FULL = Refusal(503, "unavailable", "every connection is in use; try again later")


class Connection(HttpToolsProtocol):
    """One connection of one client.

    Args:
        config: The server's.
        server_state: Shared with the server, which waits for connections at its end.
        app_state: What the lifespan yielded; `connections` is among it.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections: Connections = app_state["connections"]
        self._limits: ConnectionLimits = self._connections.limits
        self.timeout_keep_alive = self._limits.idle_timeout_s
        self.address = ""
        self._running: RequestResponseCycle | None = None
        self._head = Head(self._limits)
        self._body = Body(self._limits)
        self._in_head = True
        self._at_boundary = False  # what was fed last is not of one head or one body alone
        self._deadline: float | None = None
        self._discarded: int | None = None  # not None: nothing is parsed any more

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or be refused."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        _leave_silent_reader(transport, self._limits.write_stall_s)
        self._deadline = self.loop.time() + self._limits.header_timeout_s
        if not self._connections.admit(self):
            self._answer(_FULL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of this connection; uvicorn tells only the one that came last."""
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        self._connections.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within limits."""
        self._unset_keepalive_if_required()
        if self._discarded is not None:
            self._discard(len(data))
            return
        if self._deadline is None and not self._is_answering:
            self._deadline = self.loop.time() + self._limits.header_timeout_s
        self._at_boundary = False
        try:
            self.parser.feed_data(data)
            if not self._at_boundary:
                (self._head if self._in_head else self._body).fed(len(data))
        except httptools.HttpParserUpgrade:
            self._end_after_answer()  # what follows would be another protocol, and none is spoken
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refusal) else _UNREADABLE)
        except Refusal as refusal:
            self._refuse(refusal)

    # Callbacks of the parser; what they raise comes out of `feed_data` as the context of its error

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= _SENT_AHEAD:
            raise Refusal(400, "bad_request", "too many requests were sent ahead of their answers")
        self._at_boundary = True
        self._head = Head(self._limits)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._head.target(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those after a chunked body would change the request that is being answered."""
        if self._in_head:
            self._head.header(len(name) + len(value))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered, though its body may be to come."""
        self._in_head, self._at_boundary = False, True
        self._body = Body(self._limits)
        now = self.loop.time()
        self._body_until = now + self._limits.body_timeout_s
        self._deadline = now + self._limits.body_stall_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body.size += len(body)
        self._deadline = min(self.loop.time() + self._limits.body_stall_s, self._body_until)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; what comes now is the next one."""
        self._in_head, self._at_boundary = True, True
        self._head = Head(self._limits)
        self._deadline = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, unless this one's body is still being sent."""
        unread = self._is_receiving
        self._running = None
        self._connections.waits(self)
        if unread and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self._linger()
            return
        super().on_response_complete()
        self._go_on()

    def _go_on(self) -> None:
        """Deal with what the client has sent of its next requests already."""
        now = self.loop.time()
        if self.pipeline:
            self.flow.pause_reading()  # until they are answered
        if self._is_receiving:
            self._deadline = now + self._limits.body_stall_s
        elif not (self._is_answering or self._head.is_empty):
            self._unset_keepalive_if_required()
            self._deadline = now + self._limits.header_timeout_s

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                self._break_off(cycle)

        self._running = cycle
        super()._start_asgi_task(cycle, answer)

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        """The server ends, and waited for this answer as long as it could."""
        if not (cycle.response_started or self.transport.is_closing()):
            self._answer(_ENDING)
        cycle.disconnected = True
        self.transport.close()

    # What `Connections` asks

    @property
    def is_served(self) -> bool:
        """Whether a complete request of a known caller is being answered."""
        running = self._running
        return running is not None and not running.more_body and "caller" in running.scope["state"]

    def overdue(self, now: float) -> Ending | None:
        """Which deadline has passed, if one has."""
        if self._deadline is None or now < self._deadline:
            return None
        if self._discarded is not None:
            self.transport.abort()
            return None
        if self.flow.read_paused:  # it is we who do not read
            self._deadline = now + self._limits.body_stall_s
            return None
        return Ending.LATE_HEADERS if self._in_head else Ending.LATE_BODY

    def end(self, why: Ending) -> None:
        """Close it; a client that began a request and was late is told so."""
        self._deadline = None
        if why is Ending.MADE_WAY or (why is Ending.LATE_HEADERS and self._head.is_empty):
            self.transport.abort()
        else:
            self._stop(self._late(why))

    def _late(self, why: Ending) -> Refusal:
        limits = self._limits
        if why is Ending.LATE_HEADERS:
            missing = f"the headers were not complete after {limits.header_timeout_s:g} s"
        else:
            missing = (
                f"nothing of the body came for {limits.body_stall_s:g} s, or it was not complete "
                f"after {limits.body_timeout_s:g} s"
            )
        told = f"{missing}; nothing was done: send the whole request again on a new connection"
        return Refusal(408, "request_timeout", told)

    @property
    def _is_answering(self) -> bool:
        return self._running is not None

    @property
    def _is_receiving(self) -> bool:
        """Whether the body of the request that is being answered is still to come."""
        return self._running is not None and self._running.more_body

    def _refuse(self, refusal: Refusal) -> None:
        self._connections.note(Ending.UNREADABLE)
        self._stop(refusal)

    def _stop(self, refusal: Refusal) -> None:
        """Read no more; say why, unless an answer is on its way that must not be mixed with it."""
        running = self._running
        if running is not None and not running.more_body:
            self._end_after_answer()
        elif running is not None and running.response_started:
            self.transport.abort()
        else:
            if running is not None:
                running.disconnected = True
                running.message_event.set()
            self._answer(refusal)
            self._linger()

    def _end_after_answer(self) -> None:
        self.pipeline.clear()
        self._discarded = 0
        if self._running is not None:
            self._running.keep_alive = False

    def _linger(self) -> None:
        """Close, but not before the client had time to read: unread bytes would reset it."""
        self._discarded = 0
        self._deadline = self.loop.time() + _LINGER_S
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded = (self._discarded or 0) + size
        if self._discarded > self._limits.max_body_bytes:
            self.transport.abort()

    def _answer(self, refusal: Refusal) -> None:
        body = problem_document(refusal.status, refusal.code, refusal.detail)
        headers = [
            *self.server_state.default_headers,
            *API_HEADERS,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)


def _leave_silent_reader(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel end the connection once its client takes in nothing for so long.

    The kernel alone knows: it sees every acknowledgement, and a slow reader's window open again.
    """
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if connection is not None and option and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
