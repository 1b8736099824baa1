"""What the service answers to callers who post more edits than they may."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.client import Errata, RateLimited
from app.main import Components, create_app
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import SetClock, bearer, keyed
from tests.support.service import FACT, load_nothing, running

_LIMITED = {
    ("/v1/edits", "post"),
    ("/v1/edits/{edit_id}/requeue", "post"),
    ("/v1/edits/{edit_id}/revert", "post"),
    ("/v1/rollbacks", "post"),
    ("/v1/edit-batches", "post"),
    ("/v1/completions", "post"),
    ("/v1/chat/completions", "post"),
    ("/v1/probe", "post"),
    ("/v1/compare", "post"),
    ("/v1/bisect", "post"),
    ("/v1/events", "get"),
    ("/v1/edits/{edit_id}/events", "get"),
    ("/v1/diff", "get"),
    ("/v1/drift", "get"),
    ("/v1/snapshots", "post"),
    ("/v1/exports", "post"),
    ("/v1/revisions/{revision}/delta", "get"),
    ("/v1/ledger/export", "get"),
    ("/v1/ledger/bundle", "get"),
}
_FACT = (FACT["subject"], FACT["prompt"], FACT["target"])


def _batch(size: int) -> dict[str, object]:
    return {"edits": [FACT] * size}


@pytest.fixture
def narrow(settings: Settings) -> Settings:
    return settings.model_copy(update={"edits_per_minute": 5})


def test_too_many_edits_are_answered_429_until_the_time_that_is_told(narrow: Settings) -> None:
    clock = SetClock()
    clock.pass_by(timedelta(seconds=17))
    with running(narrow, Components(clock=clock, start_runtime=load_nothing)) as client:
        for _ in range(5):
            assert client.post("/v1/edits", json=FACT).status_code == 202
        refused = client.post("/v1/edits", json=FACT)
        assert refused.status_code == 429
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "43"
        told = "of 5 edits a minute 0 are left, and this needs 1; try again in 43 s"
        assert refused.json() == {
            "type": "urn:errata:problem:rate-limit-exceeded",
            "title": "Too Many Requests",
            "status": 429,
            "detail": told,
            "instance": "/v1/edits",
            "error": {
                "message": told,
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
            },
        }
        assert len(client.get("/v1/edits").json()["items"]) == 5
        clock.pass_by(timedelta(seconds=43))
        assert client.post("/v1/edits", json=FACT).status_code == 202


def test_a_batch_costs_as_many_as_it_has_and_is_taken_whole_or_not_at_all(
    narrow: Settings,
) -> None:
    with running(narrow, Components(SetClock(), start_runtime=load_nothing)) as client:
        assert client.post("/v1/edit-batches", json=_batch(3)).status_code == 202
        assert client.post("/v1/edit-batches", json=_batch(3)).status_code == 429
        assert client.post("/v1/edit-batches?dry_run=true", json=_batch(2)).status_code == 202
        assert client.post("/v1/edits?dry_run=true", json=FACT).status_code == 429
        assert len(client.get("/v1/edits").json()["items"]) == 5


def test_a_batch_larger_than_the_budget_is_refused_for_good(narrow: Settings) -> None:
    with running(narrow) as client:
        response = client.post("/v1/edit-batches", json=_batch(6))
    assert response.status_code == 422
    assert "Retry-After" not in response.headers
    assert response.json()["error"] == {
        "message": "this needs 6 edits, and a caller has 5 a minute; ask for fewer at a time",
        "type": "invalid_request_error",
        "param": "edits",
        "code": "over_budget",
    }


def test_a_replay_costs_nothing_and_is_answered_when_nothing_is_left(narrow: Settings) -> None:
    single, batch = {"Idempotency-Key": "single"}, {"Idempotency-Key": "batch"}
    with running(narrow, Components(SetClock(), start_runtime=load_nothing)) as client:
        first = client.post("/v1/edits", json=FACT, headers=single).json()["id"]
        together = client.post("/v1/edit-batches", json=_batch(3), headers=batch).json()["id"]
        for _ in range(3):
            again = client.post("/v1/edits", json=FACT, headers=single)
            assert (again.status_code, again.json()["id"]) == (202, first)
        assert client.post("/v1/edits", json=FACT).status_code == 202
        assert client.post("/v1/edits", json=FACT).status_code == 429
        again = client.post("/v1/edit-batches", json=_batch(3), headers=batch)
        assert (again.status_code, again.json()["id"]) == (202, together)


def test_what_is_sent_at_the_same_time_is_paid_once(narrow: Settings) -> None:
    once = {"Idempotency-Key": "once"}
    with running(narrow, Components(SetClock(), start_runtime=load_nothing)) as client:

        def post(_: int) -> str:
            return str(client.post("/v1/edits", json=FACT, headers=once).json()["id"])

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(post, range(4)))) == 1
        answers = [client.post("/v1/edits", json=FACT).status_code for _ in range(5)]
    assert answers == [202] * 4 + [429]


def test_what_is_refused_for_its_fields_costs_nothing(narrow: Settings) -> None:
    with running(narrow) as client:
        for _ in range(6):
            assert client.post("/v1/edits", json=FACT | {"target": " "}).status_code == 422
        assert client.post("/v1/edit-batches", json=_batch(5)).status_code == 202


@only_sqlite
def test_each_key_has_a_budget_of_its_own(narrow: Settings) -> None:
    with keyed(narrow) as service:
        for _ in range(2):
            headers = bearer(service.key("edit"))
            answers = [
                service.client.post("/v1/edits", json=FACT, headers=headers) for _ in range(6)
            ]
            assert [answer.status_code for answer in answers] == [202] * 5 + [429]


def test_edits_are_taken_without_a_budget_while_redis_is_away(
    narrow: Settings, tmp_path: Path
) -> None:
    away = narrow.model_copy(update={"redis_url": f"unix://{tmp_path / 'nobody'}"})
    with running(away) as client:
        for _ in range(6):
            assert client.post("/v1/edits", json=FACT).status_code == 202


@only_sqlite
def test_the_client_says_when_to_ask_again(narrow: Settings) -> None:
    clock = SetClock()
    with running(narrow, Components(clock=clock, start_runtime=load_nothing)) as http:
        errata = Errata(http=http)
        for _ in range(5):
            errata.submit(*_FACT)
        with pytest.raises(RateLimited, match="0 are left") as limited:
            errata.submit(*_FACT)
        assert (limited.value.status, limited.value.retry_after_s) == (429, 60)
        clock.pass_by(timedelta(seconds=limited.value.retry_after_s))
        errata.submit(*_FACT)


@only_sqlite
def test_a_whole_batch_fits_into_the_budget_nobody_changed(client: TestClient) -> None:
    assert client.post("/v1/edit-batches", json=_batch(1000)).status_code == 202


def test_whatever_may_be_limited_says_so(tmp_path: Path) -> None:
    document = create_app(Settings(data_dir=tmp_path)).openapi()
    limited = {
        (path, method)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "429" in operation["responses"]
    }
    assert limited == _LIMITED
    for path, method in limited:
        answer = document["paths"][path][method]["responses"]["429"]
        assert "Retry-After" in answer["headers"]
