"""How fast queries are, alone, together and beside edits: ratios taken in one run, over HTTP."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import httpx2
import torch
from rich.console import Console

from app.cli.serve import StreamingServer, http_config
from app.kit.permissions import keep_to_ourselves
from app.main import create_app
from app.settings import Settings
from benchmarks.core import RECORDS, REPOSITORY, Figure, show
from editing_core.model.loading import LoadedModel, load_model

_PROMPT = "The mother tongue of Danielle Darrieux is"
_TOKENS = 64
_CLIENTS = 8
_RUNS = 5
_EDITS = 16
_SHORT = {"max_tokens": 1, "stream": True}
_SAMPLES = 30  # short queries on an idle service
_PAUSE_S = 0.05  # between two short queries
_TIMEOUT_S = 600.0


@contextmanager
def serving(settings: Settings) -> Iterator[httpx2.Client]:
    """A client of a service that is ready, on a thread of its own."""
    server = StreamingServer(http_config(create_app(settings), port=0))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    while not server.started:
        sleep(_PAUSE_S)
    host, port = server.servers[0].sockets[0].getsockname()
    with httpx2.Client(base_url=f"http://{host}:{port}", timeout=_TIMEOUT_S) as http:
        while not http.get("/readyz").is_success:
            sleep(_PAUSE_S)
        yield http
    server.should_exit = True
    thread.join()


def ask(http: httpx2.Client) -> int:
    """The number of tokens of one answer."""
    body = {"prompt": _PROMPT, "max_tokens": _TOKENS, "temperature": 0}
    answer = http.post("/v1/completions", json=body).raise_for_status().json()
    return int(answer["usage"]["completion_tokens"])


def first_token_s(http: httpx2.Client) -> float:
    """Seconds from a short question to the first event of its answer."""
    started = perf_counter()
    with http.stream("POST", "/v1/completions", json=_SHORT | {"prompt": _PROMPT}) as response:
        next(response.iter_lines())
        return perf_counter() - started


def throughput_figures(http: httpx2.Client, model: LoadedModel) -> list[Figure]:
    """One client against `model.generate`, and several clients against one after the other."""
    ids = model.tokenizer(_PROMPT, return_tensors="pt")
    bare: Any = model.model

    def generate() -> int:
        found = bare.generate(**ids, do_sample=False, max_new_tokens=_TOKENS, pad_token_id=0)
        return int(found.shape[1] - ids["input_ids"].shape[1])

    def rate(count: int, started: float) -> float:
        return count / (perf_counter() - started)

    alone, served, together = [], [], []
    ask(http)
    with ThreadPoolExecutor(_CLIENTS) as clients:
        for _ in range(_RUNS):  # in turn, so that a change of the machine's speed hits all
            started = perf_counter()
            alone.append(rate(generate(), started))
            started = perf_counter()
            served.append(rate(ask(http), started))
            started = perf_counter()
            together.append(rate(sum(clients.map(ask, [http] * _CLIENTS)), started))
    overheads = [bare / ours - 1 for bare, ours in zip(alone, served, strict=True)]
    gains = [many / one for many, one in zip(together, served, strict=True)]
    return [
        Figure("bare generate, tokens/s", f"{median(alone):.1f}"),
        Figure("one client, tokens/s", f"{median(served):.1f}"),
        Figure("one client, overhead", f"{median(overheads):.1%}", "under 5 %"),
        Figure(f"{_CLIENTS} clients, tokens/s", f"{median(together):.1f}"),
        Figure(f"{_CLIENTS} clients, times one by one", f"{median(gains):.1f}", "2"),
    ]


def waiting_figures(http: httpx2.Client) -> list[Figure]:
    """Time to first token of short queries while a batch of edits is computed, and without."""
    idle = [_after_a_pause(http) for _ in range(_SAMPLES)]
    edits = http.post("/v1/edit-batches", json={"edits": _facts()}).raise_for_status().json()
    last = edits["edits"][-1]["id"]
    busy = []
    while http.get(f"/v1/edits/{last}").json()["status"] in ("accepted", "running"):
        busy.append(_after_a_pause(http))
    still, working = _p95(idle), _p95(busy)
    return [
        Figure("first token, idle, p95 ms", f"{1e3 * still:.0f}"),
        Figure(f"first token, {_EDITS} edits at work, p95 ms", f"{1e3 * working:.0f}"),
        Figure("first token, edits at work, times idle", f"{working / still:.1f}", "at most 3"),
    ]


def _after_a_pause(http: httpx2.Client) -> float:
    sleep(_PAUSE_S)
    return first_token_s(http)


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def _facts() -> list[dict[str, str]]:
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    return [
        {"subject": r["subject"], "prompt": r["prompt"], "target": r["target_new"]}
        for r in records[:_EDITS]
    ]


def main() -> None:
    """Measure and show."""
    keep_to_ourselves()
    data = Path(os.environ.get("ERRATA_DATA_DIR", REPOSITORY / ".errata"))
    with TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), cache_dir=data / "cache", batch_size=_EDITS, redis_url=None
        )
        model = load_model(settings.model, cache_dir=settings.cache_dir)
        with serving(settings) as http:
            figures = throughput_figures(http, model) + waiting_figures(http)
    show(Console(), f"{model.name}, {torch.get_num_threads()} threads", figures)


if __name__ == "__main__":
    main()
