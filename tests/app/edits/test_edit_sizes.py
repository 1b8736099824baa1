"""Edits in bytes: how long one may be, how many a minute, how many in an answer, and on disk."""

import shutil
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.client import Errata
from app.kit.paging import PAGE_BYTES
from app.main import Components
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.keyed import SetClock
from tests.support.service import FACT, load_nothing, running

_LONG = 4_000
_FOUR = {"paraphrases": ["x" * 1_000] * 4}


def _edit(**texts: Any) -> dict[str, Any]:
    return FACT | texts


def _large(number: int) -> dict[str, Any]:
    """An edit of some 60 kB."""
    return _edit(subject=f"Subject {number}", paraphrases=[f"{'x' * 3_990}"] * 15)


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ({"paraphrases": ["x" * _LONG] * 17}, "paraphrases"),
        ({"neighbours": [{"prompt": "é" * _LONG, "answer": "y"}] * 9}, "neighbours"),
        ({"metadata": {f"{n:02}" + "💥" * 498: "💥" * 500 for n in range(16)}} | _FOUR, "metadata"),
    ],
)
@only_sqlite
def test_the_texts_of_an_edit_are_bounded_together(
    client: TestClient, texts: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/edits", json=_edit(**texts))
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)
    assert "at most 65536 are accepted" in answer.json()["detail"]
    batch = client.post("/v1/edit-batches", json={"edits": [FACT, _edit(**texts)]})
    assert (batch.status_code, batch.json()["error"]["param"]) == (422, f"edits[1].{field}")


@only_sqlite
def test_a_caller_may_post_so_many_bytes_a_minute(settings: Settings) -> None:
    clock = SetClock()
    narrow = settings.model_copy(update={"edit_bytes_per_minute": 100_000})
    headers = {"Idempotency-Key": "once"}
    with running(narrow, Components(clock, start_runtime=load_nothing)) as client:
        first = client.post("/v1/edits", json=_large(1), headers=headers)
        assert first.status_code == 202
        refused = client.post("/v1/edits", json=_large(2))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert "of 100000 bytes of edits a minute" in refused.json()["detail"]
        again = client.post("/v1/edits", json=_large(1), headers=headers)
        assert again.json()["id"] == first.json()["id"]
        assert client.post("/v1/edits", json=FACT).status_code == 202
        over = client.post("/v1/edit-batches", json={"edits": [_large(3), _large(4)]})
        assert (over.status_code, over.json()["error"]["code"]) == (422, "over_budget")
        clock.pass_by(timedelta(minutes=1))
        assert client.post("/v1/edits", json=_large(2)).status_code == 202
        assert len(client.get("/v1/edits").json()["items"]) == 3


@only_sqlite
def test_edits_refused_for_their_bytes_are_not_counted(settings: Settings) -> None:
    narrow = settings.model_copy(update={"edit_bytes_per_minute": 100_000, "edits_per_minute": 3})
    with running(narrow, Components(SetClock(), start_runtime=load_nothing)) as client:
        assert client.post("/v1/edits", json=_large(1)).status_code == 202
        for _ in range(3):
            assert client.post("/v1/edits", json=_large(2)).status_code == 429
        assert client.post("/v1/edits", json=FACT).status_code == 202


def test_a_page_of_edits_is_bounded_by_bytes_and_all_pages_hold_all_of_them(
    client: TestClient,
) -> None:
    for start in (0, 30):
        edits = [_large(number) for number in range(start, start + 30)]
        assert client.post("/v1/edit-batches", json={"edits": edits}).status_code == 202
    first = client.get("/v1/edits?limit=1000")
    assert len(first.content) < PAGE_BYTES + 100_000
    assert first.json()["next"] == first.json()["items"][-1]["seq"] < 60
    assert [edit.seq for edit in Errata(http=client).edits()] == list(range(1, 61))


def test_what_a_large_batch_has_no_room_for_is_asked_for_after(
    client: TestClient,
) -> None:
    edits = [
        _edit(subject=f"Subject {number}", paraphrases=["x" * _LONG]) for number in range(1000)
    ]
    posted = client.post("/v1/edit-batches", json={"edits": edits}).json()
    shown = len(posted["edits"])
    assert 500 < shown < 1000
    assert posted["next"] == shown
    rest = client.get(f"/v1/edit-batches/{posted['id']}?after={shown}").json()
    assert [edit["seq"] for edit in rest["edits"]] == [*range(shown + 1, 1001)]
    assert rest["next"] is None
    whole = Errata(http=client).batch(posted["id"])
    assert ([edit.seq for edit in whole.edits], whole.next) == ([*range(1, 1001)], None)


@only_sqlite
def test_nothing_that_grows_is_accepted_on_a_disk_that_is_nearly_full(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    free = shutil.disk_usage(settings.data_dir).free
    full = settings.model_copy(update={"min_free_bytes": 2 * free})
    with running(full) as client:
        for path, body in (("/v1/edits", FACT), ("/v1/edit-batches", {"edits": [FACT]})):
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                507,
                "insufficient_storage",
            )
            assert "ERRATA_MIN_FREE_BYTES" in refused.json()["detail"]
        assert client.get("/v1/edits").json()["items"] == []
