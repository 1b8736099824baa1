"""A whole service that was used in every way for a while, and all that it told of itself."""

import io
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.access.scopes import Scope
from app.access.service import NewApiKey
from app.keys.bootstrap import create_key
from app.kit.logs import LogFormat, configure
from app.main import create_app
from app.settings import Settings
from tests.support.keyed import bearer
from tests.support.local_client import local_client
from tests.support.open_gates import OPEN_LIMITS
from tests.support.waiting import wait_until

#: in all that is written to the service by people: no word of the program
WORDS = "Zanzibarquux"

_SHORT_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 100
_WAIT_S = 60.0

Sample = tuple[str, frozenset[tuple[str, str]]]


@contextmanager
def logging_to_stream(form: LogFormat) -> Iterator[io.StringIO]:
    """All that the process logs from INFO up."""
    root, app, stream = logging.getLogger(), logging.getLogger("app"), io.StringIO()
    handlers, levels = root.handlers[:], (root.level, app.level)
    configure(form, "info", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        app.setLevel(levels[1])


def samples(exposition: str) -> dict[Sample, float]:
    """Name and labels of each series → its value."""
    families = text_string_to_metric_families(exposition)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


@dataclass(frozen=True)
class Span:
    """A span as the collector got it."""

    name: str
    trace_id: str
    attributes: Mapping[str, str]


@dataclass
class Collector:
    """Stands for an OpenTelemetry collector.

    Attributes:
        received: Every request as it came.
    """

    received: list[bytes] = field(default_factory=list)

    @property
    def services(self) -> set[str]:
        """Who sent spans."""
        return {
            entry.value.string_value
            for batch in self._batches()
            for entry in batch.resource.attributes
            if entry.key == "service.name"
        }

    @property
    def spans(self) -> list[Span]:
        """All spans there are."""
        return [
            Span(
                name=span.name,
                trace_id=span.trace_id.hex(),
                attributes={
                    entry.key: str(entry.value.string_value or entry.value.int_value)
                    for entry in span.attributes
                },
            )
            for batch in self._batches()
            for scope in batch.scope_spans
            for span in scope.spans
        ]

    def _batches(self) -> Iterator[Any]:
        for body in self.received:
            yield from ExportTraceServiceRequest.FromString(body).resource_spans

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The collector's address, for as long as it listens."""
        received = self.received

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Watched:
    """What is left of the service.

    Attributes:
        log: Its records, one JSON document a line.
        exposition: Its series at the end.
        collector: Has its spans.
        answers: What it answered, by request id.
        keys: The API keys that were sent to it.
        drift: Its head as `GET /v1/drift` has it, and its base.
    """

    log: str
    exposition: str
    collector: Collector
    answers: Mapping[str, dict[str, Any]]
    keys: tuple[str, ...]
    drift: tuple[dict[str, Any], dict[str, Any]]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log, read."""
        return [json.loads(line) for line in self.log.splitlines()]

    def told(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Records of an event that have these fields."""
        return [
            record
            for record in self.records
            if record["event"] == event and fields.items() <= record.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a series at the end."""
        return samples(self.exposition).get((name, frozenset(labels.items())))


@contextmanager
def _traced_to(collector: Collector) -> Iterator[None]:
    with collector.listening() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield


class _User:
    """Sends requests, each with an id to find it by."""

    def __init__(self, http: TestClient, key: str) -> None:
        self._http, self._key = http, key
        self.answers: dict[str, dict[str, Any]] = {}

    def ask(self, request_id: str, method: str, path: str, key: str = "", **more: Any) -> Any:
        """The answer, which is also kept."""
        headers = {"X-Request-ID": request_id, "Prefer": "wait=60", **bearer(key or self._key)}
        headers |= more.pop("headers", {})
        response = self._http.request(method, path, headers=headers, **more)
        is_json = "json" in response.headers.get("Content-Type", "")
        body = response.json() if is_json else {}
        self.answers[request_id] = {"status": response.status_code, "body": body}
        return body

    def edit(self, request_id: str, **details: Any) -> Any:
        """An edit that is full of words, and has ended."""
        fact = {
            "subject": WORDS,
            "prompt": f"{WORDS} says: {{}} is",
            "target": f" {WORDS}",
            "target_old": f"old {WORDS}",
            "paraphrases": [f"Who is {WORDS}?"],
            "neighbours": [{"prompt": f"{WORDS} was", "answer": WORDS}],
            "metadata": {WORDS: WORDS},
            "force": True,
        }
        return self.ask(request_id, "POST", "/v1/edits", json=fact | details)


def _edit_in_every_way(user: _User) -> None:
    committed = user.edit("committed", metadata={})
    user.edit("rejected", gates={"target_p": 1.0})
    user.edit("too-long", target=WORDS + "ж" * 400)
    user.edit("not-known-method", method=WORDS)
    user.edit("two-slots", prompt=f"{{}} {WORDS} {{}}")
    user.edit("not-known-field", **{WORDS: WORDS})
    as_json = {"Content-Type": "application/json"}
    user.ask("no-json", "POST", "/v1/edits", content=f"{{{WORDS}", headers=as_json)
    one = {"subject": f"{WORDS} II", "prompt": "{} is", "target": "Rome", "force": True}
    batch = {"edits": [one, one | {"subject": "France"}], "atomic": True}
    written = f"/v1/edit-batches/{user.ask('batch', 'POST', '/v1/edit-batches', json=batch)['id']}"

    def is_written() -> bool:  # what is undone would go before it
        edits = user.ask("written", "GET", written)["edits"]
        return all(edit["status"] == "committed" for edit in edits)

    wait_until(is_written, _WAIT_S)
    revert = f"/v1/edits/{committed['id']}/revert"
    undone = user.ask("revert", "POST", revert, json={"reason": WORDS})
    operation = f"/v1/operations/{undone['id']}"
    wait_until(lambda: user.ask("end", "GET", operation)["status"] == "committed", _WAIT_S)
    user.ask("rollback", "POST", "/v1/rollbacks", json={"to_revision": 1, "reason": WORDS})
    user.ask("again", "POST", revert, json={"reason": WORDS})
    user.edit("last")


def _query_in_every_way(user: _User) -> None:
    ask = {"prompt": f"{WORDS} is", "max_tokens": 3, "temperature": 0}
    user.ask("completion", "POST", "/v1/completions", json=ask | {"stop": [WORDS]})
    user.ask("stream", "POST", "/v1/completions", json=ask | {"stream": True})
    chat = {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 3}
    user.ask("chat", "POST", "/v1/chat/completions", json=chat)
    user.ask("no-model", "POST", "/v1/completions", json=ask | {"model": WORDS})
    user.ask("negative", "POST", "/v1/completions", json=ask | {"max_tokens": -1})
    items = [{"prompt": f"{WORDS} is", "target": WORDS}]
    user.ask("probe", "POST", "/v1/probe", json={"items": items})
    user.ask("compare", "POST", "/v1/compare", json={"prompt": WORDS, "max_tokens": 3})
    user.ask("bisect", "POST", "/v1/bisect", json={"prompt": WORDS, "expect": WORDS})
    user.ask("found", "GET", "/v1/edits", params={"subject": WORDS})
    user.ask("nowhere", "GET", f"/{WORDS}", params={WORDS: WORDS})
    user.ask("odd", WORDS, "/v1/edits")


@contextmanager
def _running(folder: Path, model: Path) -> Iterator[tuple[TestClient, Settings]]:
    settings = Settings(
        model=str(model),
        data_dir=folder / "data",
        gate_perplexity_tokens=32,
        snapshot_every=2,
        **{f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()},
    )
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "calibration.txt").write_text(_SHORT_TEXT)
    with local_client(create_app(settings)) as http:
        wait_until(lambda: http.get("/readyz").is_success, _WAIT_S, what="readiness")
        yield http, settings


def watched(folder: Path, model: Path) -> Watched:
    """Use a service in every way, end it, and keep what it told."""
    collector = Collector()
    with (
        logging_to_stream("json") as log,
        _traced_to(collector),
        _running(folder, model) as (http, settings),
    ):
        key = create_key(settings, NewApiKey([Scope.ADMIN], WORDS)).key
        user, stranger = _User(http, key), key[:-1] + "?"
        _edit_in_every_way(user)
        _query_in_every_way(user)
        user.ask("stranger", "GET", "/v1/edits", key=stranger)
        base, *_, head = user.ask("drift", "GET", "/v1/drift")["items"]
        exposition = http.get("/metrics", headers=bearer(key)).text
    keys = (key, stranger)
    return Watched(log.getvalue(), exposition, collector, user.answers, keys, (head, base))
