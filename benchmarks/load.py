"""How a server under load answers: posts while it edits, and pages of a long history.

The server is a process of its own with its default settings (SQLite, embedded queue, the worker in
the same process) but for open gates: its model is tiny and random, so no edit would pass a gate.
"""

import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory
from time import perf_counter
from types import TracebackType
from typing import Self

import httpx2
from rich.console import Console

from app.client import Errata
from app.kit.permissions import keep_to_ourselves
from benchmarks.core import REPOSITORY, Figure, show
from benchmarks.longhistory import long_history
from benchmarks.openloop import Latencies, measure
from tests.acceptance.server import Server, calibrate_quickly, running
from tests.support.tiny import build_tiny_model

_POSTING_S, _PAGING_S = 240.0, 180.0
_POSTS_PER_SECOND = 50.0
_REVISIONS = 100_000
_PAGES_PER_SECOND = 30.0
# What is paged, and how far it reaches: accepting and committing each write an entry.
_PAGES = {"ledger": 2 * _REVISIONS, "revisions": _REVISIONS, "edits": _REVISIONS}
_LOOK_EVERY_S = 0.5
_WARM_UP = 0.5  # of the time, in which caches and arenas fill


class Memory:
    """Watches how much memory another process holds inside ``with``: Linux."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._seen: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def slope(self) -> float:
        """MB that it grows by in a minute, once warm."""
        warm = self._seen[round(_WARM_UP * len(self._seen)) :]
        moments, sizes = zip(*warm, strict=True)
        return 60 * linear_regression(moments, sizes).slope

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            words = self._status.read_text().split()
            held = int(words[words.index("VmRSS:") + 1]) / 1024
            self._seen.append((perf_counter(), held))


def post_figures(server: Server) -> list[Figure]:
    """Posts of edits of different subjects, while the worker executes those before."""
    with Memory(server.process.pid) as memory:
        found = measure(server.url, _post, per_second=_POSTS_PER_SECOND, seconds=_POSTING_S)
    _require(found, 202)
    with Errata(server.url) as errata:
        live = errata.revision().live_edits
    return [
        *_latency(f"{_POSTS_PER_SECOND:.0f} posts/s, edits at work", found, "under 50"),
        Figure("edits committed meanwhile", str(live)),
        _growth(memory),
    ]


def page_figures(server: Server) -> list[Figure]:
    """Pages at random places of a long history, one kind after the other."""
    with Memory(server.process.pid) as memory:
        found = measure(server.url, _page, per_second=_PAGES_PER_SECOND, seconds=_PAGING_S)
    _require(found, 200)
    figures = []
    for place, path in enumerate(_PAGES):
        of_kind = Latencies(found.seconds[place :: len(_PAGES)], found.statuses)
        figures += _latency(f"page of {path}", of_kind, "under 100")
    return [*figures, _growth(memory)]


def _post(http: httpx2.AsyncClient, number: int) -> httpx2.Request:
    fact = {"subject": f"Place {number}", "prompt": "The capital of {} is", "target": "Rome"}
    return http.build_request("POST", "/v1/edits", json=fact)


def _page(http: httpx2.AsyncClient, number: int) -> httpx2.Request:
    path, length = list(_PAGES.items())[number % len(_PAGES)]
    after = random.Random(number).randrange(length)  # noqa: S311 - the same places each time
    return http.build_request("GET", f"/v1/{path}", params={"after": after})


def _latency(what: str, found: Latencies, aim: str) -> list[Figure]:
    return [
        Figure(f"{what}: p50 ms", f"{found.percentile(50):.0f}"),
        Figure(f"{what}: p99 ms", f"{found.percentile(99):.0f}", aim),
        Figure(f"{what}: longest ms", f"{found.longest:.0f}"),
    ]


def _growth(memory: Memory) -> Figure:
    return Figure("memory once warm, MB a minute", f"{memory.slope:.1f}", "flat: under 1")


def _require(found: Latencies, status: int) -> None:
    if found.statuses != {status}:
        raise RuntimeError(f"not every answer was a {status}: {sorted(found.statuses)}")


def _show(title: str, figures: Sequence[Figure]) -> None:
    show(Console(), title, figures)


def main() -> None:
    """Measure and show."""
    keep_to_ourselves()
    with TemporaryDirectory() as folder:
        model, data = build_tiny_model(Path(folder) / "tiny"), Path(folder) / "data"
        calibrate_quickly(data)
        # At the rate of the bar the minute's default budget of edits would just be used up.
        with running(data, str(model), ERRATA_EDITS_PER_MINUTE="0") as server:
            _show(f"{_POSTING_S:.0f} s of posts, tiny model", post_figures(server))
    kept = Path(os.environ.get("ERRATA_DATA_DIR", REPOSITORY / ".errata")) / "bench"
    model, data = long_history(kept / "long-history", _REVISIONS)
    with running(data, str(model)) as server:
        _show(f"pages of 100 among {_REVISIONS:,} revisions", page_figures(server))


if __name__ == "__main__":
    main()
