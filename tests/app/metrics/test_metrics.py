"""Series move when things happen, and say nothing that people wrote."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind
from app.http.connections import Ending
from app.kit.clock import utc_now
from app.metrics.mirrored import mirrored
from app.settings import Settings
from app.worker.gates import GATES
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.service import FACT, running
from tests.support.waiting import wait_until
from tests.support.watched import Sample, samples
from tests.support.worker_service import BROKEN, WAIT_S, Service

_PHASES = ("values", "keys", "solve", "projection", "gates", "commit")


def _scraped(client: TestClient) -> dict[Sample, float]:
    response = client.get("/metrics")
    assert response.status_code == 200
    return samples(response.text)


def _value(client: TestClient, name: str, **labels: str) -> float | None:
    return _scraped(client).get((name, frozenset(labels.items())))


def test_the_queue_is_mirrored_when_it_is_scraped(client: TestClient) -> None:
    assert _value(client, "errata_queue_depth") == 0
    assert _value(client, "errata_queue_oldest_seconds") == 0
    for _ in range(2):
        assert client.post("/v1/edits", json=FACT).status_code == 202
    assert _value(client, "errata_queue_depth") == 2
    first = _value(client, "errata_queue_oldest_seconds")
    later = _value(client, "errata_queue_oldest_seconds")
    assert first is not None
    assert later is not None
    assert 0 < first < later < 60


def test_the_head_is_mirrored_once_there_is_one(client: TestClient, worked: History) -> None:
    assert _value(client, "errata_head_revision") == 0
    worked.edit("a", "b")
    assert _value(client, "errata_head_revision") == 1
    assert _value(client, "errata_live_edits") == 2


@pytest.mark.parametrize("url", ["sqlite:///{}", "postgresql+psycopg://errata@127.0.0.1:1/errata"])
def test_a_scrape_without_database_answers_and_says_so(tmp_path: Path, url: str) -> None:
    registry, database = CollectorRegistry(), Database(url.format(tmp_path))
    with mirrored(registry, database, utc_now):
        text = generate_latest(registry).decode()
    database.close()
    assert "errata_database_up 0.0" in text
    assert "errata_queue_depth" not in text


def test_a_scrape_with_a_database_says_that_it_is_there(client: TestClient) -> None:
    assert _value(client, "errata_database_up") == 1


@only_sqlite
def test_requests_are_counted_by_template_and_unknown_paths_make_no_labels(
    client: TestClient,
) -> None:
    for number in range(20):
        client.get(f"/v1/edits/edit_{number}")
        client.get(f"/zanzibar/{number}")
        client.request(f"ODD{number}", "/healthz")
    counted = {"method": "GET", "status": "404"}
    name = "errata_http_requests_total"
    assert _value(client, name, route="/v1/edits/{edit_id}", **counted) == 20
    assert _value(client, name, route="none", **counted) == 20
    series = [labels for found, labels in _scraped(client) if found == name]
    assert len(series) < 8
    assert "zanzibar" not in client.get("/metrics").text


@only_sqlite
def test_a_check_of_the_ledger_is_counted_by_its_result(client: TestClient) -> None:
    client.get("/v1/ledger/verify")
    assert _value(client, "errata_verifications_total", result="ok") == 1


@only_sqlite
def test_what_an_alert_counts_is_shown_at_zero_before_it_happens(client: TestClient) -> None:
    found = _scraped(client)
    expected = [
        *(("errata_verifications_total", {"result": result}) for result in ("ok", "failed")),
        *(("errata_http_connections_ended_total", {"reason": end.value}) for end in Ending),
        *(
            ("errata_requests_refused_total", {"reason": reason})
            for reason in ("key_needed", "key_invalid", "key_revoked", "key_expired")
        ),
    ]
    for name, labels in expected:
        assert found[name, frozenset(labels.items())] == 0, (name, labels)


def test_every_end_of_an_operation_and_every_gate_is_shown_at_zero(service: Service) -> None:
    ends = ("committed", "rejected", "dead", "cancelled", "tried")
    for kind in OperationKind:
        for status in ends:
            value = _of(service, "errata_operations_ended_total", kind=kind.value, status=status)
            assert value == 0, (kind, status)
    for gate in GATES:
        assert _of(service, "errata_gates_failed_total", gate=gate) == 0, gate


@only_sqlite
def test_two_apps_in_one_process_count_apart(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(
        update={"data_dir": tmp_path / "b", "database_url": f"sqlite:///{tmp_path / 'b.db'}"}
    )
    with running(settings) as one, running(other) as two:
        one.get("/healthz")
        labels = {"method": "GET", "route": "/healthz", "status": "200"}
        assert _value(one, "errata_http_requests_total", **labels) == 1
        assert _value(two, "errata_http_requests_total", **labels) is None


def _of(service: Service, name: str, **labels: str) -> float | None:
    return service.metrics.registry.get_sample_value(name, labels)


def test_a_committed_edit_moves_phases_verdicts_head_and_writer(service: Service) -> None:
    assert service.ended(service.submit("France")).status is EditStatus.COMMITTED
    ended = {"kind": "edit", "status": "committed"}
    # The client sees the commit before the worker has told of it.
    wait_until(lambda: _of(service, "errata_operations_ended_total", **ended) == 1, WAIT_S)
    wait_until(lambda: _of(service, "errata_edit_phase_seconds_count", phase="commit") == 1, WAIT_S)
    for phase in _PHASES:
        assert _of(service, "errata_edit_phase_seconds_count", phase=phase) == 1
    assert _of(service, "errata_writer") == 1
    assert _of(service, "errata_served_revision") == 1


def test_a_failed_gate_is_counted_by_name(service: Service) -> None:
    rejected = service.ended(service.submit("France", gates={"target_p": 1.0}))
    assert rejected.status is EditStatus.REJECTED
    wait_until(lambda: _of(service, "errata_gates_failed_total", gate="target_p") == 1, WAIT_S)
    ended = {"kind": "edit", "status": "rejected"}
    assert _of(service, "errata_operations_ended_total", **ended) == 1


def test_an_edit_that_is_given_up_is_counted_as_dead(service: Service) -> None:
    assert service.ended(service.submit("France", method=BROKEN)).status is EditStatus.DEAD
    ended = {"kind": "edit", "status": "dead"}
    wait_until(lambda: _of(service, "errata_operations_ended_total", **ended) == 1, WAIT_S)


def test_the_lease_is_mirrored_and_its_beat_grows_while_the_writer_lives(service: Service) -> None:
    with mirrored(service.metrics.registry, service.database, utc_now):
        wait_until(lambda: _of(service, "errata_lease_held") == 1, WAIT_S)
        wait_until(lambda: (_of(service, "errata_lease_beat") or 0) > 0, WAIT_S)
        service.worker.stop()
        assert _of(service, "errata_lease_held") == 0
    assert _of(service, "errata_writer") == 0
