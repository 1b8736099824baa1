"""A number of any length, in any script, is a mistake of who sends it."""

import pytest
from starlette.testclient import TestClient

from tests.support.engines import only_sqlite
from tests.support.history import History

pytestmark = only_sqlite

_LONG = "9" * 5_000
_NUMBERS = [_LONG, "0" * 5_000 + "1", "-" + _LONG, "%D9%A3", "%C2%B2", "%EF%BC%93", "1e5000", "+1"]


@pytest.mark.parametrize("number", _NUMBERS)
@pytest.mark.parametrize(
    "path",
    [
        "/v1/edits?after={}",
        "/v1/edits?limit={}",
        "/v1/ledger?after={}",
        "/v1/revisions?after={}",
        "/v1/revisions/{}",
        "/v1/revisions/{}/delta",
        "/v1/exports?limit={}",
        "/v1/diff?from={}",
        "/v1/diff?to={}",
        "/v1/drift?limit={}",
        "/v1/snapshots?after={}",
        "/v1/models/smollm2-135m@{}",
        "/v1/ledger/checkpoint?size={}",
    ],
)
def test_in_a_path_or_a_query(client: TestClient, worked: History, path: str, number: str) -> None:
    del worked
    answer = client.get(path.format(number))
    assert answer.status_code < 500 or answer.json()["error"]["code"] == "model_not_ready"
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("number", [_LONG, "0" * 5_000 + "1", "²", "-" + _LONG, "1e5000"])
@pytest.mark.parametrize(
    ("method", "path", "header", "form"),
    [
        ("GET", "/v1/events", "Last-Event-ID", "{}"),
        ("POST", "/v1/edits/edit_a/revert", "Prefer", "wait={}"),
        ("GET", "/v1/exports/export_a/download", "Range", "bytes={}-"),
        ("POST", "/v1/completions", "X-Min-Revision", "{}"),
        ("POST", "/v1/edits", "Content-Length", "{}"),
        ("POST", "/v1/edits", "Content-Type", "application/json; charset={}"),
    ],
)
def test_in_a_header(
    client: TestClient, method: str, path: str, header: str, form: str, number: str
) -> None:
    sent = {header.encode(): form.format(number).encode("latin-1")}
    with client.stream(method, path, headers=sent) as answer:
        if answer.status_code == 200:
            return  # a stream of events, begun at the newest
        answer.read()
    assert answer.status_code < 500 or answer.json()["error"]["code"] == "model_not_ready"
