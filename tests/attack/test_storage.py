"""Disks and pages: what a key may leave behind, and have read to it at once."""

import json
from pathlib import Path

import pytest

from app.access.scopes import Scope
from tests.attack.raw import Answer, Request, Target, ask_all, outcomes
from tests.attack.site import WatchedSite

pytestmark = pytest.mark.attack

_EXPORTS = 120
_LABELS = 150
_LARGE_EDITS = 60
_FULL = {"409", "413", "422", "429", "507"}
_PAGE_BYTES = 16_000_000


def start_equal_exports(target: Target) -> list[Answer]:
    request = Request.post("/v1/exports", {"format": "delta", "revision": 1})
    return ask_all(target, [request] * _EXPORTS, at_once=8)


def start_different_exports(target: Target, newest: int) -> list[Answer]:
    formats = ("merged", "delta", "lora")
    wanted = [(kind, number) for number in range(newest + 1) for kind in formats][:_EXPORTS]
    requests = [
        Request.post("/v1/exports", {"format": kind, "revision": number}) for kind, number in wanted
    ]
    return ask_all(target, requests, at_once=8)


def label_the_head_again_and_again(target: Target) -> list[Answer]:
    requests = [
        Request.post("/v1/snapshots", {"label": f"label-{number}"}) for number in range(_LABELS)
    ]
    return ask_all(target, requests, at_once=4)


def post_large_edits(target: Target) -> list[Answer]:
    """400 kB each, 24 MB in all."""
    words = ["w" * 3_900 + f" {number} " for number in range(50)]
    neighbours = [{"prompt": text} for text in words]
    requests = [
        Request.post(
            "/v1/edits?dry_run=true",
            {
                "subject": f"Large place {number}",
                "prompt": "{} is",
                "target": "Rome",
                "paraphrases": words,
                "neighbours": neighbours,
            },
        )
        for number in range(_LARGE_EDITS)
    ]
    return ask_all(target, requests, at_once=4)


def read_long_pages(target: Target) -> list[Answer]:
    paths = ["/v1/edits", "/v1/ledger", "/v1/revisions", "/v1/drift", "/v1/keys", "/v1/exports"]
    requests = [Request("GET", f"{path}?limit=1000") for path in paths * 4]
    return ask_all(target, requests, at_once=8)


def _kept(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_equal_exports_are_one(keyed: WatchedSite) -> None:
    answers = keyed.attack(start_equal_exports, keyed.target(Scope.EXPORT))
    assert outcomes(answers).keys() <= {"200", "202"}
    assert len({json.loads(answer.body)["id"] for answer in answers}) == 1


def test_unfinished_exports_are_few(keyed: WatchedSite) -> None:
    with keyed.admin as errata:
        newest = errata.revision().number
    answers = keyed.attack(start_different_exports, keyed.target(Scope.EXPORT), newest)
    assert outcomes(answers).keys() <= {"200", "202", *_FULL}
    assert outcomes(answers)["429"] > 0


def test_labels_have_an_end(keyed: WatchedSite) -> None:
    before = _kept(keyed.data_dir)
    answers = keyed.attack(label_the_head_again_and_again, keyed.target(Scope.ROLLBACK))
    assert outcomes(answers).keys() == {"201", "409"}
    assert {answer.code for answer in answers if answer.outcome == "409"} == {"too_many_labels"}
    assert _kept(keyed.data_dir) - before < 100_000_000


def test_an_edit_has_a_size(keyed: WatchedSite) -> None:
    answers = keyed.attack(post_large_edits, keyed.target(Scope.EDIT))
    assert outcomes(answers) == {"422": _LARGE_EDITS}


def test_pages_have_an_end_in_bytes(keyed: WatchedSite) -> None:
    answers = keyed.attack(read_long_pages, keyed.target(Scope.ADMIN))
    assert outcomes(answers).keys() <= {"200", "429"}
    assert max(answer.size for answer in answers) < _PAGE_BYTES
