"""Whatever the client changes on a server, it may send again by an idempotency key."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import RouteContext
from starlette.testclient import TestClient

from app.client import ClientError, Errata, Refused
from app.client.answers import Answer, Edit, Export
from app.settings import Settings
from tests.app.operations.test_idempotency import SAFE, takes_a_key
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.keyed import bearer, keyed, routes
from tests.support.service import FACT

_FACT = (FACT["subject"], FACT["prompt"], FACT["target"])


def _constructed(kind: type[Answer], **fields: object) -> Answer:
    """An answer of which only these fields matter."""
    return kind.model_construct(None, **fields)


#: what each argument that a method needs may be
_ARGUMENTS: dict[str, Any] = {
    "subject": "Rome",
    "prompt": "{} is in",
    "target": "Italy",
    "edits": [FACT],
    "batch_id": "b",
    "edit_id": "e",
    "operation_id": "o",
    "export_id": "x",
    "key_id": "k",
    "found": _constructed(Edit, id="e"),
    "export": _constructed(Export, id="x", digest=None),
    "why": "harm",
    "label": "release",
    "to": 0,
    "path": Path("never-written"),
    "message": "Hello",
    "items": [("Rome is in", "Italy")],
    "expect": "Italy",
    "format": "delta",
    "scopes": ["edit"],
}


@dataclass
class _Recorder:
    """Stands where the server would, refuses everything, and keeps what was asked."""

    asked: list[httpx2.Request] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        error = {"code": "unknown", "message": "not here", "param": None}
        return httpx2.Response(404, json={"error": error})


def _methods(errata: Errata) -> Iterator[tuple[str, Callable[..., Any]]]:
    for part in (errata, errata.exports, errata.keys, errata.queue):
        for name, method in inspect.getmembers(part, inspect.ismethod):
            if not name.startswith("_") and name != "close":
                yield f"{type(part).__name__}.{name}", method


def _call(method: Callable[..., Any], **more: object) -> None:
    """Call a method with all that it needs, as far as the refusal of its first request."""
    needed = {
        name: _ARGUMENTS[name]
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty
    }
    try:
        answer = method(**needed, **more)
        if inspect.isgenerator(answer):
            next(answer)
    except ClientError:
        pass


def _route(found: list[RouteContext], request: httpx2.Request) -> RouteContext:
    (route,) = (
        route
        for route in found
        if request.method in (route.methods or ()) and route.path_regex.match(request.url.path)
    )
    return route


@only_sqlite
def test_every_method_that_changes_something_takes_a_key_and_every_change_has_a_method(
    settings: Settings,
) -> None:
    changing = [
        route
        for route in routes(settings)
        if set(route.methods or ()) - SAFE and takes_a_key(route)
    ]
    recorder = _Recorder()
    http = httpx2.Client(base_url="http://server", transport=httpx2.MockTransport(recorder))
    reached, without = set[str](), set[str]()
    with Errata(http=http) as errata:
        for name, method in _methods(errata):
            keyed = "idempotency_key" in inspect.signature(method).parameters
            recorder.asked.clear()
            _call(method, **({"idempotency_key": "once"} if keyed else {}))
            assert recorder.asked or name == "Errata.is_ready", name
            for request in recorder.asked:
                if request.method in SAFE or not _changes(changing, request):
                    assert not keyed, f"{name} changes nothing"
                    continue
                reached.add(str(_route(changing, request).path_format))
                if request.headers.get("Idempotency-Key") != "once":
                    without.add(name)
    assert without == set()
    assert reached == {route.path_format for route in changing}


def _changes(changing: list[RouteContext], request: httpx2.Request) -> bool:
    return any(
        request.method in (route.methods or ()) and route.path_regex.match(request.url.path)
        for route in changing
    )


def test_the_client_sends_again_what_was_not_answered(client: TestClient, worked: History) -> None:
    worked.edit("a")
    errata = Errata(http=client)
    exports = [errata.exports.start("delta", revision=0, idempotency_key="x") for _ in range(2)]
    assert exports[0].id == exports[1].id
    errata.submit(*_FACT)
    assert [errata.queue.cancel(all=True, idempotency_key="c") for _ in range(2)] == [1, 1]
    edit = errata.submit(*_FACT)
    cancelled = [errata.cancel(edit.id, idempotency_key="d") for _ in range(2)]
    assert [found.status for found in cancelled] == ["cancelled", "cancelled"]
    errata.queue.pause("drill", idempotency_key="p")
    errata.queue.resume()
    assert errata.queue.pause("drill", idempotency_key="p").state == "running"
    with pytest.raises(Refused, match="used before with another path or body"):
        errata.queue.pause("another", idempotency_key="p")


def test_a_revocation_that_is_sent_again_tells_and_cancels_what_it_did(settings: Settings) -> None:
    with keyed(settings) as service:
        leaver = service.key("edit")
        for subject in ("Rome", "Paris"):
            body = FACT | {"subject": subject}
            assert service.client.post("/v1/edits", json=body, headers=bearer(leaver)).is_success
        service.client.headers.update(bearer(service.admin))
        errata = Errata(http=service.client)
        (_, key) = errata.keys.all()
        first = errata.keys.revoke(key.id, cancel_queued=True, idempotency_key="once")
        again = errata.keys.revoke(key.id, cancel_queued=True, idempotency_key="once")
        assert (first.cancelled, again) == (2, first)
        assert errata.keys.revoke(key.id, cancel_queued=True).cancelled == 0
        with pytest.raises(Refused, match="used before with another path or body"):
            errata.keys.revoke(key.id, idempotency_key="once")
