"""The doorbell on a Redis stream; works with Redis 7.0 and later and with Valkey."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from app.errors import ErrataError, QueueFull, QueueUnavailable
from app.kit.logs import get_logger

STREAM = "errata:doorbell"
GROUP = "worker"
# One fixed name: what a killed worker had not acknowledged is its successor's at once.
CONSUMER = "writer"

#: longest wait; it may return that early
_MAX_WAIT_S = 2.0
#: longest block on the server, which only its end ends: how long closing may take
_MAX_BLOCK_S = 0.5
#: how long an accepted request may be held up by a server that hangs
_RING_TIMEOUT_S = 0.5
_PROBE, _PROBE_KEPT_MS = "errata:probe", 1_000
_MAX_READ = 1_000
_MAX_STREAM = 100_000
_log = get_logger(__name__)


@dataclass(frozen=True)
class RedisAddress:
    """Where the server is: a `redis://` URL, or the path of a unix socket."""

    url: str | None = None
    unix_socket: str | None = None

    def client(self, *, timeout_s: float) -> redis.Redis:
        """A client that fails after `timeout_s` instead of retrying; connects when first used."""
        retry = Retry(NoBackoff(), retries=0)
        if self.url is not None:
            return redis.Redis.from_url(
                self.url,
                protocol=2,  # the answer of XREADGROUP has another shape in protocol 3
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=retry,
            )
        return redis.Redis(
            unix_socket_path=self.unix_socket, protocol=2, socket_timeout=timeout_s, retry=retry
        )


class RedisDoorbell:
    """A `Doorbell` on one stream, one group and one consumer.

    Args:
        address: The server.
        revive: Called when the server does not answer, to start it again if it is ours.
    """

    def __init__(self, address: RedisAddress, *, revive: Callable[[], None] | None = None) -> None:
        self._ringing = address.client(timeout_s=_RING_TIMEOUT_S)
        self._waiting = address.client(timeout_s=_MAX_BLOCK_S + 1)
        self._revive = revive
        self._closed = threading.Event()
        self._reachable = True
        self._heard: list[bytes] = []

    def ring(self, operation_id: str) -> None:
        """Say that an operation was accepted; a lost ring is healed by the worker's own looking."""
        try:
            self._ringing.xadd(
                STREAM, {"operation": operation_id}, maxlen=_MAX_STREAM, approximate=True
            )
        except RedisError as error:
            _log.warning("doorbell_ring_lost", operation_id=operation_id, error=str(error))

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung; true at once while earlier rings are not acknowledged."""
        try:
            return self._wait(timeout_s)
        finally:
            if self._closed.is_set():
                _drop_idle(self._waiting)

    def _wait(self, timeout_s: float) -> bool:
        try:
            rung = self._read("0", None) or self._await_ring(min(timeout_s, _MAX_WAIT_S))
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                return self._outage(error, timeout_s)
            return self._create_group(timeout_s)
        except RedisError as error:
            return self._outage(error, timeout_s)
        if not self._reachable:
            self._reachable = True
            _log.info("doorbell_back")
            return True  # rings may have been lost meanwhile
        return rung

    def acknowledge(self) -> None:
        """Forget the rings heard so far, and drop them from the stream."""
        heard, self._heard = self._heard, []
        if not heard:
            return
        try:
            self._waiting.xack(STREAM, GROUP, *heard)
            self._waiting.xdel(STREAM, *heard)
        except RedisError as error:
            _log.warning("doorbell_acknowledge_lost", rings=len(heard), error=str(error))

    def ping(self) -> None:
        """Ask the server for a sign of life, by something written: a full one still reads."""
        try:
            self._ringing.set(_PROBE, b"", px=_PROBE_KEPT_MS)
        except OutOfMemoryError as error:
            raise QueueFull from error
        except RedisError as error:
            raise QueueUnavailable("the queue does not answer", cause=str(error)) from error

    def close(self) -> None:
        """End a `wait` in another thread and give back the connections."""
        self._closed.set()
        _drop_idle(self._ringing)
        _drop_idle(self._waiting)

    def _await_ring(self, timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not self._closed.is_set():
            left = end - time.monotonic()
            if self._read(">", max(0.0, min(left, _MAX_BLOCK_S))):
                return True
            if left <= _MAX_BLOCK_S:
                break
        return False

    def _read(self, after: str, block_s: float | None) -> bool:
        block_ms = None if block_s is None else max(1, int(block_s * 1000))
        answer = cast(
            "list[tuple[bytes, list[tuple[bytes, object]]]]",
            self._waiting.xreadgroup(
                GROUP, CONSUMER, {STREAM: after}, count=_MAX_READ, block=block_ms
            ),
        )
        self._heard = [ring for _, rings in answer for ring, _ in rings]
        return bool(self._heard)

    def _create_group(self, timeout_s: float) -> bool:
        try:
            self._waiting.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                return self._outage(error, timeout_s)
        except RedisError as error:
            return self._outage(error, timeout_s)
        return True  # a new stream, or one that was flushed: only the database knows what is due

    def _outage(self, error: RedisError, timeout_s: float) -> bool:
        if self._closed.is_set():
            return False
        if self._reachable:
            _log.warning("doorbell_lost", poll_s=timeout_s, error=str(error))
        self._reachable = False
        # A server that is there but hangs must not get a second one beside it.
        if self._revive is not None and not isinstance(error, RedisTimeout):
            try:
                self._revive()
            except ErrataError as failure:
                _log.error("doorbell_revival_failed", error=str(failure))
            else:
                return True
        self._closed.wait(timeout_s)
        return False


def _drop_idle(client: redis.Redis) -> None:
    """Close what no thread uses: under one that reads, redis-py fails in ways of its own."""
    client.connection_pool.disconnect(inuse_connections=False)
