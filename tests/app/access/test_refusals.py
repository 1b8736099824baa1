"""Who was turned away is counted and told, in a number of records that no stranger decides."""

import io
import json
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from app.access.refusals import Refusals
from app.access.token import Token
from app.errors import KeyNeeded
from app.metrics.metrics import Metrics
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import Keyed, bearer, keyed, kid
from tests.support.watched import logging_to_stream


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    with logging_to_stream("json") as stream:
        yield stream


@pytest.fixture
def service(settings: Settings) -> Iterator[Keyed]:
    with keyed(settings) as service:
        yield service


def _records(written: io.StringIO, event: str) -> list[dict[str, object]]:
    records = [json.loads(line) for line in written.getvalue().splitlines()]
    return [record for record in records if record["event"] == event]


@only_sqlite
def test_a_refusal_is_told_with_reason_peer_and_the_keys_id_and_never_with_the_key(
    written: io.StringIO, service: Keyed
) -> None:
    revoked, narrow, unknown = service.revoked(), service.key("query"), Token.draw().text
    for key in ("", revoked, unknown, narrow):
        service.client.get("/v1/edits", headers=bearer(key) if key else {})
    told = [
        (record["reason"], record["peer"], record.get("key_id"), record.get("actor"))
        for record in _records(written, "request_refused")
    ]
    assert told == [
        ("key_needed", "127.0.0.1", None, None),
        ("key_revoked", "127.0.0.1", kid(revoked), None),
        ("key_invalid", "127.0.0.1", kid(unknown), None),
        ("scope_missing", "127.0.0.1", kid(narrow), f"key:{kid(narrow)}"),
    ]
    for key in (revoked, unknown, narrow):
        assert key.split("_")[2] not in written.getvalue()
    metrics = service.client.get("/metrics", headers=bearer(service.key("metrics"))).text
    assert 'errata_requests_refused_total{reason="key_needed"} 1.0' in metrics
    assert 'errata_requests_refused_total{reason="scope_missing"} 1.0' in metrics


@only_sqlite
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_stranger_who_comes_a_hundred_times_is_told_of_ten_times(
    written: io.StringIO, service: Keyed, method: str
) -> None:
    for _ in range(100):
        assert service.client.request(method, "/v1/edits").status_code == 401
    assert len(_records(written, "request_refused")) == 10
    assert len(_records(written, "request_finished")) == 10
    admitted = service.client.request(method, "/v1/edits", headers=bearer(service.admin))
    assert admitted.status_code == 200
    last = _records(written, "request_finished")[-1]
    assert (last["method"], last["actor"]) == (method, f"key:{kid(service.admin)}")
    assert len(_records(written, "request_finished")) == 11
    metrics = service.client.get("/metrics", headers=bearer(service.admin)).text
    assert 'errata_requests_refused_total{reason="key_needed"} 100.0' in metrics
    assert 'route="none",status="401"} 100.0' in metrics


def test_after_a_minute_it_says_how_many_it_did_not_tell_of(
    written: io.StringIO,
) -> None:
    seconds = [0.0]
    refusals = Refusals(Metrics(), now=lambda: seconds[0])
    for number in range(1_000):
        refusals.note(_from(f"192.0.2.{number % 250}"), KeyNeeded())
    assert len(_records(written, "request_refused")) == 200
    seconds[0] = 60.0
    refusals.note(_from("192.0.2.1"), KeyNeeded())
    (untold,) = _records(written, "refusals_untold")
    assert untold["count"] == 800
    assert len(_records(written, "request_refused")) == 201


def _from(peer: str) -> Request:
    return Request({"type": "http", "headers": [], "client": (peer, 1)})
