"""A witness of an attack: the server's memory and pulse, and what a legitimate client gets."""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.client import ClientError, Errata
from tests.acceptance.server import Server

_PULSE_EVERY_S = 0.2
_PULSE_TIMEOUT_S = 10.0
_PULSE_LIMIT_S = 1.0
_MEMORY_LIMIT = 2.0  # times what it holds when idle
_EDIT_TIMEOUT_S = 60.0
_FACT = "The capital of {} is"
_RESET_PEAK = "5"  # see proc_pid_clear_refs(5)


@dataclass
class Observation:
    """What was seen during one attack."""

    pulses_s: list[float] = field(default_factory=list)
    queries_s: list[float] = field(default_factory=list)
    edits_s: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    peak: float = 0.0

    @property
    def flaws(self) -> list[str]:
        """What the server did not keep of its promise."""
        found = list(self.complaints)
        if max(self.pulses_s) >= _PULSE_LIMIT_S:
            found.append(f"/healthz took {max(self.pulses_s):.2f} s")
        if self.peak >= _MEMORY_LIMIT:
            found.append(f"memory rose to {self.peak:.2f} times that of the idle server")
        return found


class Witness:
    """Watches one server.

    Args:
        server: The server.
        key: A key that may query and edit; None in open mode.
    """

    def __init__(self, server: Server, key: str | None) -> None:
        self._server = server
        self._errata = Errata(server.url, key)
        # A few: a tiny model that is told ever more holds nothing in the end.
        self._subjects = itertools.cycle(f"Place {number}" for number in range(8))
        for _ in range(3):
            self._query()
            self._edit()
        self._idle_kib = self._memory("VmRSS")

    @contextmanager
    def watching(self) -> Iterator[Observation]:
        """Watch until the block ends and the client's next query and edit have ended, too."""
        seen, over = Observation(), threading.Event()
        Path(f"/proc/{self._server.process.pid}/clear_refs").write_text(_RESET_PEAK)
        threads = [
            threading.Thread(target=watch, args=(seen, over)) for watch in (self._feel, self._use)
        ]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in threads:
                thread.join()
            if self._server.process.poll() is None:
                seen.peak = self._memory("VmHWM") / self._idle_kib

    def close(self) -> None:
        """Give the client's connections back."""
        self._errata.close()

    def _feel(self, seen: Observation, over: threading.Event) -> None:
        while True:
            started = time.monotonic()
            try:
                self._pulse()
            except (OSError, http.client.HTTPException) as error:
                seen.complaints.append(f"/healthz: {error!r}")
            seen.pulses_s.append(time.monotonic() - started)
            if over.wait(_PULSE_EVERY_S):
                return

    def _pulse(self) -> None:
        host, _, port = self._server.url.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_PULSE_TIMEOUT_S)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {status}")

    def _use(self, seen: Observation, over: threading.Event) -> None:
        last = False
        while not last:
            last = over.is_set()
            for take, took in ((self._query, seen.queries_s), (self._edit, seen.edits_s)):
                started = time.monotonic()
                try:
                    take()
                except ClientError as error:
                    seen.complaints.append(f"the client's {take.__name__.strip('_')}: {error}")
                took.append(time.monotonic() - started)

    def _query(self) -> None:
        self._errata.complete("Paris is the capital of", max_tokens=3, temperature=0)

    def _edit(self) -> None:
        sent = self._errata.submit(next(self._subjects), _FACT, "Rome", force=True)
        ended = self._errata.wait(sent.id, _EDIT_TIMEOUT_S)
        if ended.status != "committed":
            raise ClientError(f"{sent.id} is {ended.status}: {ended.reason}")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self._server.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1])
