"""What is logged: events with ids, and never what people wrote."""

import io
import json
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from app.access.require import require
from app.access.scopes import Scope
from app.kit.logs import get_logger
from app.main import Components, create_app
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.local_client import local_client
from tests.support.service import load_nothing
from tests.support.watched import WORDS, logging_to_stream
from tests.support.worker_service import BROKEN, Service


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that the process logs from INFO up, as JSON."""
    with logging_to_stream("json") as stream:
        yield stream


def _records(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@only_sqlite
def test_a_request_is_told_of_once_with_its_id_route_and_status(
    written: io.StringIO, client: TestClient
) -> None:
    response = client.get("/v1/edits/edit_7", headers={"X-Request-ID": "call-7"})
    assert response.headers["X-Request-ID"] == "call-7"
    (record,) = [found for found in _records(written) if found["event"] == "request_finished"]
    assert record["request_id"] == "call-7"
    assert (record["route"], record["status"]) == ("/v1/edits/{edit_id}", 404)


@only_sqlite
@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 65, 'a"b'])
def test_an_id_that_no_log_should_hold_is_replaced(
    written: io.StringIO, client: TestClient, given: str
) -> None:
    response = client.get("/healthz", headers={b"X-Request-ID": given.encode()})
    assert response.headers["X-Request-ID"].startswith("req_")
    assert str(response.headers["X-Request-ID"]) in written.getvalue()


@only_sqlite
def test_the_answer_to_a_bug_has_the_requests_id_too(settings: Settings) -> None:
    router = APIRouter(dependencies=[require(Scope.AUDIT)])

    @router.get("/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError

    app = create_app(settings, components=Components(start_runtime=load_nothing))
    app.include_router(router)
    with local_client(app) as client:
        response = client.get("/v1/broken", headers={"X-Request-ID": "call-8"})
    assert (response.status_code, response.headers["X-Request-ID"]) == (500, "call-8")


@only_sqlite
def test_no_record_and_no_label_holds_what_a_client_wrote(
    written: io.StringIO, client: TestClient
) -> None:
    fact = {"subject": WORDS, "prompt": f"{WORDS} is", "target": WORDS}
    assert client.post("/v1/edits", json=fact).status_code == 202
    assert client.post("/v1/edits", json=fact | {WORDS: WORDS}).status_code == 422
    assert client.post("/v1/edits", content=WORDS).status_code in (400, 422)
    query = {"model": WORDS, "prompt": WORDS}
    assert client.post("/v1/completions", json=query).status_code == 503
    assert client.get(f"/{WORDS}").status_code == 404
    assert client.get("/v1/edits", params={"subject": WORDS}).status_code == 200
    assert len(_records(written)) >= 6
    assert WORDS not in written.getvalue()
    assert WORDS not in client.get("/metrics").text


def test_a_worker_tells_ids_and_revisions_and_no_words(
    written: io.StringIO, service: Service
) -> None:
    dead = service.submit(WORDS, method=BROKEN)
    service.ended(dead)
    service.ended(service.submit(WORDS, target=WORDS, gates={"target_p": 1.0}))
    service.ended(service.submit(WORDS, target=f" {WORDS}" * 64))
    service.ended(service.submit("France"))
    service.worker.stop()
    events = {record["event"]: record for record in _records(written)}
    reasons = {record.get("reason") for record in _records(written)}
    assert reasons >= {"gate_target_not_reached", "unreadable_prompt"}
    assert events["operation_dead"]["operation_id"] == dead
    assert events["operation_ended"]["revision"] == 1
    assert WORDS not in written.getvalue()


def test_an_exception_is_told_by_type_and_place_and_not_by_its_message(
    written: io.StringIO,
) -> None:
    try:
        raise ValueError(WORDS)
    except ValueError:
        get_logger("app.test").exception("run_failed")
    (record,) = _records(written)
    assert (record["event"], record["exception"]) == ("run_failed", "ValueError")
    assert "test_logs.py" in str(record["raised_at"])
    assert WORDS not in written.getvalue()


def test_on_a_terminal_a_record_is_key_and_value() -> None:
    with logging_to_stream("console") as stream:
        get_logger("app.test").info("lease_taken", fence=3)
    assert "event='lease_taken'" in stream.getvalue()
    assert "fence=3" in stream.getvalue()
