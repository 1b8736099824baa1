"""Fifty clients listen while edits come and go: all hear everything, and the server does not grow.

The server has no model, so that its memory is that of accepting and telling alone.
"""

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import linear_regression, quantiles
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Annotated

import httpx2
import psutil
import typer
from rich.console import Console

from app.cli.serve import StreamingServer, http_config
from app.client import Errata
from app.deps.services import Services
from app.kit.permissions import keep_to_ourselves
from app.main import Components, create_app
from app.settings import Settings
from app.startup import Runtime
from benchmarks.core import Figure, show

_LISTENERS = 50
_EDIT_EVERY_S = 0.1
_EARLIER = 3_000  # edits that are there before: memory of a fixed size is full then
_BATCH = 1_000
_SETTLING = 0.2  # share of the time before memory is looked at
_START_S = 60.0
_LATE_S = 10.0
_MB = 1e6


@dataclass
class Ear:
    """One client that listens for ever.

    Attributes:
        url: To whom.
        numbers: Of the events, as they came.
        delays_s: From each event's time stamp to its arrival.
    """

    url: str
    numbers: list[int] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)

    def listen(self) -> None:
        """Hear everything from the first event on."""
        with Errata(self.url) as errata:
            for event in errata.events(after=0):
                delay = datetime.now(UTC) - datetime.fromisoformat(event.at)
                self.delays_s.append(delay.total_seconds())
                self.numbers.append(event.number)


@dataclass
class Load:
    """Edits that are handed in and withdrawn, and what the server needs meanwhile.

    Attributes:
        events: How many events there are.
        memory: Minutes since the beginning, and the server's resident set in MB.
    """

    events: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)

    def prepare(self, url: str) -> None:
        """Edits that nobody withdraws, one event each."""
        edits = [{"subject": f"P{n}", "prompt": "{} is", "target": "here"} for n in range(_BATCH)]
        with Errata(url) as errata:
            while self.events < _EARLIER:
                errata.submit_batch(edits)
                self.events += _BATCH

    def run(self, url: str, server: psutil.Process, duration_s: float) -> None:
        """Two events every tenth of a second."""
        started = monotonic()
        with httpx2.Client(base_url=url) as http:
            while (passed := monotonic() - started) < duration_s:
                body = {"subject": f"S{self.events}", "prompt": "{} is", "target": "here"}
                edit = http.post("/v1/edits", json=body).raise_for_status().json()
                http.delete(f"/v1/edits/{edit['id']}").raise_for_status()
                self.events += 2
                self.memory.append((passed / 60, server.memory_info().rss / _MB))
                sleep(_EDIT_EVERY_S)

    @property
    def growth_mb_a_minute(self) -> float:
        """Slope of the resident set once the server has settled."""
        settled = self.memory[int(_SETTLING * len(self.memory)) :]
        minutes, megabytes = zip(*settled, strict=True)
        return linear_regression(minutes, megabytes).slope


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with TemporaryDirectory() as folder:
        process = spawn.Process(target=_serve, args=(Path(folder), theirs))
        process.start()
        if not ours.poll(_START_S):
            raise TimeoutError(f"the server did not start within {_START_S:g} s")
        try:
            yield ours.recv(), psutil.Process(process.pid)
        finally:
            ours.send("stop")
            process.join()


def _serve(folder: Path, told: Connection) -> None:
    def wait_for_ever(_services: Services) -> Runtime:
        threading.Event().wait()
        raise AssertionError

    settings = Settings(data_dir=folder, edits_per_minute=0)  # this caller alone is many
    app = create_app(settings, components=Components(start_runtime=wait_for_ever))
    server = StreamingServer(http_config(app, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        sleep(_EDIT_EVERY_S)
    host, port = server.servers[0].sockets[0].getsockname()
    told.send(f"http://{host}:{port}")
    told.recv()
    server.should_exit = True
    thread.join()


def figures(url: str, server: psutil.Process, duration_s: float) -> list[Figure]:
    """What the listeners heard, and what it cost the server."""
    ears, load = [Ear(url) for _ in range(_LISTENERS)], Load()
    load.prepare(url)
    for ear in ears:
        threading.Thread(target=ear.listen, daemon=True).start()
    load.run(url, server, duration_s)
    deadline = monotonic() + _LATE_S
    while monotonic() < deadline and any(len(ear.numbers) < load.events for ear in ears):
        sleep(_EDIT_EVERY_S)
    everything = list(range(1, load.events + 1))
    complete = sum(ear.numbers == everything for ear in ears)
    delays = [delay for ear in ears for delay in ear.delays_s[_EARLIER:]]
    return [
        Figure("events", f"{load.events}"),
        Figure("listeners that heard each once, in order", f"{complete}", f"{_LISTENERS}"),
        Figure("from change to listener, p95 ms", f"{1e3 * quantiles(delays, n=20)[-1]:.0f}"),
        Figure("server's memory at the end, MB", f"{load.memory[-1][1]:.0f}"),
        Figure("its growth, MB/min", f"{load.growth_mb_a_minute:.2f}", "under 1"),
    ]


def main(
    duration: Annotated[float, typer.Argument(min=10, help="How long, in seconds.")] = 600.0,
) -> None:
    """Listen, and show what came of it."""
    keep_to_ourselves()
    with serving() as (url, server):
        found = figures(url, server, duration)
    show(Console(), f"{_LISTENERS} listeners for {duration:g} s", found)


if __name__ == "__main__":
    typer.run(main)
