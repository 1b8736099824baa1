"""A service with a history and a key for every scope, behind a real socket."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from app.access.scopes import Scope
from app.cli.serve import StreamingServer, http_config
from app.client import Errata
from app.main import create_app
from app.settings import Settings
from tests.support.keyed import first_key
from tests.support.looking_back import live, prepared
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

_READY_S = 60.0
_TIMEOUT_S = 60.0
_REVISION = 3
_LABEL = "kept"
_WAIT_S = 0.05
_PROMPT_CHARS = 200
_BODY_BYTES = 16_000_000  # so that what is hostile and large is read to its end, not cut off
_FACT = {"subject": "Place 9", "prompt": "The capital of {} is", "target": "Rome"}


@dataclass(frozen=True)
class Site:
    """A service that needs keys.

    Attributes:
        url: Where it is.
        keys: Who asks → the headers that say so; a scope each, and nobody.
        known: Parameter or field → something that it may name.
    """

    url: str
    keys: Mapping[str, dict[str, str]]
    known: Mapping[str, str | int]


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """The service, kept waiting by no request for longer than an instant."""
    model = build_tiny_model(folder / "tiny")
    settings = prepared(
        folder,
        model,
        max_wait_s=_WAIT_S,
        max_prompt_chars=_PROMPT_CHARS,
        max_body_bytes=_BODY_BYTES,
    )
    with _serving(settings) as url, httpx2.Client(base_url=url, timeout=_TIMEOUT_S) as http:
        wait_until(lambda: http.get("/readyz").is_success, _READY_S, what="readiness")
        known = dict(_known(http, settings))
        keys = {scope.value: _bearer(http, scope) for scope in Scope}
        yield Site(url, keys | {"nobody": {}}, known)


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    server = StreamingServer(http_config(create_app(settings), port=0))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    wait_until(lambda: server.started, _READY_S, what="the start of the server")
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


def _known(http: httpx2.Client, settings: Settings) -> Iterator[tuple[str, str | int]]:
    errata = Errata(http=http)
    *_, newest = live(errata, http)
    yield "edit_id", newest
    yield "operation_id", newest
    yield "batch_id", errata.submit_batch([_FACT]).id
    yield "model", errata.models().data[0].id
    yield "revision", _REVISION
    yield "to_revision", _REVISION
    yield "X-Min-Revision", str(_REVISION)
    yield "label", _LABEL
    errata.snapshot(_LABEL)
    yield "export_id", errata.exports.wait(errata.exports.start("delta").id).id
    # The last: from the first key on, nobody is let in without one.
    http.headers["Authorization"] = f"Bearer {first_key(settings)}"
    spare = http.post("/v1/keys", json={"scopes": [Scope.QUERY]}).raise_for_status().json()
    yield "key_id", spare["id"]


def _bearer(http: httpx2.Client, scope: Scope) -> dict[str, str]:
    made = http.post("/v1/keys", json={"scopes": [scope]}).raise_for_status().json()
    return {"Authorization": f"Bearer {made['key']}"}
