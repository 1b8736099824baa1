"""What a whole service tells of itself while people use it: ids and numbers, and no words."""

from collections.abc import Iterator

import pytest
import torch

from tests.support.keyed import kid
from tests.support.tiny import build_tiny_model
from tests.support.watched import WORDS, Watched, watched

_ACCEPTED = {
    "committed": "committed",
    "rejected": "rejected",
    "rollback": "committed",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield watched(folder, build_tiny_model(folder / "tiny"))
    torch.set_num_threads(threads)


def test_the_service_was_used_in_every_way(told: Watched) -> None:
    statuses = {request: answer["status"] for request, answer in told.answers.items()}
    assert statuses == {
        "committed": 200,
        "rejected": 200,
        "too-long": 422,
        "not-known-method": 422,
        "two-slots": 422,
        "not-known-field": 422,
        "no-json": 400,
        "batch": 202,
        "written": 200,
        "revert": 200,
        "end": 200,
        "rollback": 200,
        "again": 200,
        "last": 200,
        "completion": 200,
        "stream": 200,
        "chat": 200,
        "no-model": 404,
        "negative": 422,
        "probe": 200,
        "compare": 200,
        "bisect": 200,
        "found": 200,
        "nowhere": 404,
        "odd": 405,
        "stranger": 401,
        "drift": 200,
    }
    ends = {request: told.answers[request]["body"]["status"] for request in _ACCEPTED}
    assert ends == _ACCEPTED


def test_no_record_holds_what_people_wrote_or_a_key(told: Watched) -> None:
    assert WORDS not in told.log
    for key in told.keys:
        assert key.split("_")[2][:8] not in told.log
    assert len(told.records) > 40


def test_no_span_and_no_series_holds_what_people_wrote(told: Watched) -> None:
    assert len(told.collector.spans) > 20
    for body in told.collector.received:
        assert WORDS.encode() not in body
    assert WORDS not in told.exposition


@pytest.mark.parametrize("request_id", _ACCEPTED)
def test_an_operation_is_followed_from_its_request_to_its_end(
    told: Watched, request_id: str
) -> None:
    operation = told.answers[request_id]["body"]
    actor = f"key:{kid(told.keys[0])}"
    (accepted,) = told.told("operation_accepted", request_id=request_id)
    assert (accepted["operation_id"], accepted["actor"]) == (operation["id"], actor)
    (ended,) = told.told("operation_ended", operation_id=operation["id"])
    assert ended["status"] == operation["status"]
    assert ended.get("revision") == operation["revision"]
    assert ended.get("reason") == (operation["reason"] if ended["status"] == "rejected" else None)


def test_each_edit_of_a_batch_is_told_of(told: Watched) -> None:
    ids = {edit["id"] for edit in told.answers["batch"]["body"]["edits"]}
    accepted = told.told("operation_accepted", request_id="batch")
    ended = told.told("operation_ended", revision=2)
    assert {record["operation_id"] for record in accepted} == ids
    assert {record["operation_id"] for record in ended} == ids


def test_what_else_a_run_tells_names_the_operation_that_led_to_it(told: Watched) -> None:
    (taken, *_) = told.told("snapshot_taken")
    batch = {edit["id"] for edit in told.answers["batch"]["body"]["edits"]}
    assert (taken["revision"], taken["operations"]) == (2, 2)
    assert taken["operation_id"] in batch


def test_a_request_that_the_model_answered_is_told_with_its_revision(told: Watched) -> None:
    body = told.answers["completion"]["body"]
    (record,) = told.told("request_finished", request_id="completion")
    assert (record["route"], record["revision"]) == ("/v1/completions", body["revision"])


def test_a_stranger_is_no_actor(told: Watched) -> None:
    (record,) = told.told("request_finished", request_id="stranger")
    assert record["status"] == 401
    assert "actor" not in record


def test_a_span_is_named_after_its_route_and_found_by_request_id_or_log(told: Watched) -> None:
    expected = {
        "committed": "POST /v1/edits",
        "end": "GET /v1/operations/{operation_id}",
        "stream": "POST /v1/completions",
        "found": "GET /v1/edits",
    }
    for request_id, name in expected.items():
        spans = [
            span
            for span in told.collector.spans
            if span.attributes.get("errata.request_id") == request_id
        ]
        records = told.told("request_finished", request_id=request_id)
        assert {span.name for span in spans} == {name}
        assert {span.trace_id for span in spans} == {record["trace_id"] for record in records}
    assert told.collector.services == {"errata"}


def test_paths_query_strings_and_hosts_are_blank_in_spans(told: Watched) -> None:
    (span,) = [
        span
        for span in told.collector.spans
        if span.attributes.get("errata.request_id") == "nowhere"
    ]
    for name in ("url.path", "url.query", "server.address"):
        assert span.attributes[name] == "REDACTED"
    assert span.attributes["http.response.status_code"] == "404"


def test_what_machines_ask_every_few_seconds_is_not_traced(told: Watched) -> None:
    assert told.value("errata_http_requests_total", method="GET", route="/readyz", status="200")
    assert not [span for span in told.collector.spans if "/readyz" in span.name]


def test_generation_is_counted_in_tokens_and_timed(told: Watched) -> None:
    usages = [told.answers[request]["body"]["usage"] for request in ("completion", "chat")]
    counted = told.value("errata_generated_tokens_total")
    read = told.value("errata_prompt_tokens_total")
    assert counted is not None
    assert read is not None
    assert counted >= sum(usage["completion_tokens"] for usage in usages) > 0
    assert read >= sum(usage["prompt_tokens"] for usage in usages) > 0
    runs = told.value("errata_generation_seconds_count")
    assert runs is not None
    assert runs >= 3
    assert told.value("errata_first_token_seconds_count") == runs


def test_drift_of_the_head_is_what_its_revision_recorded(told: Watched) -> None:
    head, base = told.drift
    energies = zip(head["layers"], base["layers"], strict=True)
    drift = max(abs(after["energy"] / before["energy"] - 1) for after, before in energies)
    assert drift > 0
    assert told.value("errata_head_energy_drift") == pytest.approx(drift)
    ratio = head["perplexity"] / base["perplexity"]
    assert told.value("errata_head_perplexity_ratio") == pytest.approx(ratio)


def test_the_revision_that_is_served_is_the_ledgers_head(told: Watched) -> None:
    assert told.value("errata_served_revision") == told.drift[0]["revision"]
    assert told.value("errata_head_revision") == told.drift[0]["revision"]
    assert told.value("errata_live_edits") == told.drift[0]["live_edits"]
