"""A service on a real socket, and clients that listen to its events."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from fastapi import APIRouter

from app.access.doorkeeper import Doorkeeper
from app.cli.serve import StreamingServer, http_config
from app.deps.services import Services
from app.events.hub import Hub
from app.main import Components, create_app
from app.settings import Settings
from tests.support.service import load_nothing
from tests.support.waiting import wait_until

_START_S = 30.0
_SILENCE_S = 30.0


@dataclass(frozen=True)
class Told:
    """One event as it came."""

    id: int
    event: str
    data: dict[str, Any]

    @property
    def short(self) -> tuple[str, str, int | None]:
        """Operation, status and revision."""
        return self.data["operation"], self.data["status"], self.data["revision"]


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    hub: Hub
    doorkeeper: Doorkeeper
    services: Services

    def told(self, path: str, *, after: int | None = None, most: int | None = None) -> list[Told]:
        """The events of a stream up to its end, or the first of them."""
        events: list[Told] = []
        with listening(self.url + path, after) as stream:
            while len(events) != most and (event := next(stream, None)) is not None:
                events.append(event)
        return events


def headers(after: int | str | None) -> dict[str, str]:
    """What a client sends that resumes."""
    return {} if after is None else {"Last-Event-ID": str(after)}


@contextmanager
def listening(url: str, after: int | None = None) -> Iterator[Iterator[Told]]:
    """An open stream of events; `end` is not among them, but ends them."""
    with httpx2.stream("GET", url, headers=headers(after), timeout=_SILENCE_S) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
        yield _events(response.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if fields.get("event") == "end":
                return
            if "data" in fields:
                yield Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


@dataclass
class Ear:
    """A client that listens on a thread of its own until it has heard enough."""

    url: str
    enough: int
    heard: list[Told] = field(default_factory=list)
    opened: threading.Event = field(default_factory=threading.Event)
    """Set once the server has said from where on it tells."""

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with listening(self.url) as stream:
            self.opened.set()
            for event in stream:
                self.heard.append(event)
                if len(self.heard) == self.enough:
                    return

    def all(self) -> list[Told]:
        """Everything, once it is there."""
        self._thread.join(_SILENCE_S)
        assert len(self.heard) == self.enough
        return self.heard


@contextmanager
def serving(
    settings: Settings, *, port: int = 0, routers: Sequence[APIRouter] = ()
) -> Iterator[Served]:
    """The service without a model, on a socket, in this process; with routes of the test's own."""
    app = create_app(settings, components=Components(start_runtime=load_nothing))
    for router in routers:
        app.include_router(router)
    server = StreamingServer(http_config(app, port=port))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), _START_S, what="the start")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        state = server.lifespan.state
        yield Served(
            f"http://127.0.0.1:{port}", state["hub"], state["doorkeeper"], state["services"]
        )
    finally:
        server.should_exit = True
        thread.join(_START_S)
    assert not thread.is_alive()
