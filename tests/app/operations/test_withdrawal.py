"""Withdrawn revisions are served and handed out nowhere, and everything else goes on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.client import Refused
from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.database.tables.operations import Operation, OperationKind, OperationStatus
from app.database.tables.withdrawals import Why
from app.edits.withdrawal_service import withdraw
from app.errors import RevisionWithdrawn, WrongState
from app.evidence.recomputation import Recomputation
from app.evidence.verification import verify_bundle
from app.exports.store import ExportStore
from app.kit.clock import new_id, utc_now
from app.ledger.signing import SigningKey
from app.main import create_app
from app.operations import repository as operations
from app.operations.commit import NewRevision
from app.operations.lifecycle import accept
from editing_core.progress import silent
from tests.support.bundles import lines_of, members_of, rewritten, write_bundle
from tests.support.engines import only_sqlite
from tests.support.history import History, measured
from tests.support.local_client import local_client
from tests.support.looking_back import ERASED, HEAD, Lived, lived
from tests.support.postgres import new_schema
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until
from tests.support.worker_service import Service

_WAIT_S = 60.0
_PROMPT = "The capital of Place 3 is"
_LABEL, _OTHER = "with-the-fact", "without-it"


@dataclass(frozen=True)
class Withdrawn:
    """A service of which one revision was withdrawn while it was in use in every way.

    Attributes:
        lived: The service; its head is HEAD.
        model: Where its base model is.
        edit: The edit that was erased.
        answer: What erasing it with `withdraw` answered.
        exports: Ids of exports of the revision, by format.
        snapshot: The file of the label on it.
    """

    lived: Lived
    model: Path
    edit: str
    answer: httpx2.Response
    exports: Mapping[str, str]
    snapshot: Path

    @property
    def data_dir(self) -> Path:
        return self.lived.services.settings.data_dir


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def gone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Withdrawn]:
    folder = tmp_path_factory.mktemp("withdrawn")
    url = f"sqlite:///{folder / 'errata.db'}"
    if request.param == "postgres":
        url = new_schema(request.getfixturevalue("postgres_server"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = build_tiny_model(folder / "tiny")
    with lived(folder, model, url) as found:
        errata, data = found.errata, found.services.settings.data_dir
        errata.complete(_PROMPT, revision=ERASED)  # its view is kept
        digest = errata.snapshot(_LABEL, ERASED).digest
        errata.snapshot(_OTHER, ERASED - 1)
        exports = {
            form: errata.exports.wait(errata.exports.start(form, revision=ERASED).id).id
            for form in ("merged", "lora", "delta")
        }
        edit = found.edits[-2]
        answer = found.http.post(f"/v1/edits/{edit}/erase", json={"withdraw": True})
        snapshot = data / "snapshots" / f"{digest}.safetensors"
        yield Withdrawn(found, model, edit, answer, exports, snapshot)
    torch.set_num_threads(threads)


def _pinned(http: TestClient, revision: int) -> str:
    return f"{http.get('/v1/models').json()['data'][0]['id']}@{revision}"


_WAYS: Mapping[str, Callable[[TestClient, int], httpx2.Response]] = {
    "completions": lambda http, n: http.post(
        "/v1/completions", json={"model": _pinned(http, n), "prompt": "a", "max_tokens": 1}
    ),
    "a stream": lambda http, n: http.post(
        "/v1/completions", json={"model": _pinned(http, n), "prompt": "a", "stream": True}
    ),
    "chat": lambda http, n: http.post(
        "/v1/chat/completions",
        json={"model": _pinned(http, n), "messages": [{"role": "user", "content": "a"}]},
    ),
    "model": lambda http, n: http.get(f"/v1/models/{_pinned(http, n)}"),
    "probe": lambda http, n: http.post(
        "/v1/probe", json={"items": [{"prompt": "a", "target": "b"}], "revisions": [0, n]}
    ),
    "compare": lambda http, n: http.post(
        "/v1/compare", json={"prompt": "a", "revisions": ["head", n]}
    ),
    "bisect from": lambda http, n: http.post(
        "/v1/bisect", json={"prompt": "a", "expect": "b", "from": n}
    ),
    "diff from": lambda http, n: http.get("/v1/diff", params={"from": n}),
    "diff to": lambda http, n: http.get("/v1/diff", params={"to": n}),
    "delta": lambda http, n: http.get(f"/v1/revisions/{n}/delta"),
    "export merged": lambda http, n: http.post(
        "/v1/exports", json={"format": "merged", "revision": n}
    ),
    "export lora": lambda http, n: http.post("/v1/exports", json={"format": "lora", "revision": n}),
    "export delta": lambda http, n: http.post(
        "/v1/exports", json={"format": "delta", "revision": n}
    ),
    "rollback": lambda http, n: http.post("/v1/rollbacks", json={"to_revision": n}),
    "label": lambda http, n: http.post("/v1/snapshots", json={"label": "new", "revision": n}),
    "the same label": lambda http, n: http.post(
        "/v1/snapshots", json={"label": _LABEL, "revision": n}
    ),
}


def _is_gone(response: httpx2.Response) -> bool:
    found = response.json()
    return (
        response.status_code == 410
        and found["error"]["code"] == "revision_withdrawn"
        and f"revision {ERASED} was withdrawn" in found["detail"]
    )


def test_the_answer_and_the_revision_say_so(gone: Withdrawn) -> None:
    assert gone.answer.status_code == 200
    assert gone.answer.json()["withdrawn"] == [{"first": ERASED, "last": ERASED, "why": "erasure"}]
    http = gone.lived.http
    assert http.get(f"/v1/edits/{gone.edit}").json()["withdrawn"] == gone.answer.json()["withdrawn"]
    revisions = http.get("/v1/revisions").json()["items"]
    assert [one["number"] for one in revisions if one["withdrawn_at"]] == [ERASED]
    assert http.get(f"/v1/revisions/{ERASED}").json() == revisions[ERASED]
    assert {item["id"]: item["withdrawn"] for item in http.get("/v1/edits").json()["items"]} == {
        id: gone.answer.json()["withdrawn"] if id == gone.edit else [] for id in gone.lived.edits
    }


@pytest.mark.parametrize("way", _WAYS)
def test_it_is_given_out_in_no_way(gone: Withdrawn, way: str) -> None:
    response = _WAYS[way](gone.lived.http, ERASED)
    assert _is_gone(response), response.text


def test_a_rollback_to_its_label_is_refused(gone: Withdrawn) -> None:
    assert _is_gone(gone.lived.http.post("/v1/rollbacks", json={"to_label": _LABEL}))


@pytest.mark.parametrize("way", [way for way in _WAYS if way not in ("rollback", "label")])
@pytest.mark.parametrize("revision", [ERASED - 1, HEAD])
def test_its_neighbours_are_given_out_as_before(gone: Withdrawn, way: str, revision: int) -> None:
    response = _WAYS[way](gone.lived.http, revision)
    assert response.is_success or (way, response.status_code) == ("the same label", 409)


def test_reading_what_one_has_written_is_not_touched(gone: Withdrawn) -> None:
    body = {"model": _pinned(gone.lived.http, HEAD).partition("@")[0], "prompt": "a"}
    headers = {"X-Min-Revision": str(ERASED)}
    response = gone.lived.http.post("/v1/completions", json=body, headers=headers)
    assert (response.status_code, response.json()["revision"]) == (200, HEAD)


@pytest.mark.parametrize("form", ["merged", "lora", "delta"])
def test_what_was_exported_is_gone_too(gone: Withdrawn, form: str) -> None:
    export = gone.exports[form]
    found = gone.lived.http.get(f"/v1/exports/{export}").json()
    assert (found["status"], found["digest"], found["download"]) == ("failed", None, None)
    assert found["reason"] == f"revision {ERASED} was withdrawn"
    assert _is_gone(gone.lived.http.get(f"/v1/exports/{export}/download"))
    assert not ExportStore(gone.data_dir).path(export).exists()


def test_what_was_kept_whole_is_gone_too(gone: Withdrawn) -> None:
    assert not gone.snapshot.exists()
    found = gone.lived.http.get(f"/v1/snapshots/{_LABEL}").json()
    assert (found["revision"], found["digest"]) == (ERASED, None)
    assert gone.lived.http.get(f"/v1/snapshots/{_OTHER}").json()["digest"]


def test_a_bisection_passes_over_it(gone: Withdrawn) -> None:
    errata = gone.lived.errata
    said = errata.complete(_PROMPT, revision=ERASED - 1, max_tokens=16).choices[0].text
    found = errata.bisect(_PROMPT, said.strip()[:4] or said, first=ERASED - 1)
    assert found.outcome in ("found", "still_at_end", "not_at_start")
    assert found.after is None or found.after.revision != ERASED


def test_no_copy_of_it_is_kept_in_memory(gone: Withdrawn) -> None:
    with pytest.raises(RevisionWithdrawn):
        gone.lived.serving.runtime.resident.rebuilt(ERASED)
    assert _WAYS["completions"](gone.lived.http, ERASED).status_code == 410
    assert ERASED not in gone.lived.serving.query._views


def test_the_ledger_tells_who_and_why(gone: Withdrawn) -> None:
    entries = gone.lived.http.get("/v1/ledger", params={"limit": 1000}).json()["items"]
    (entry,) = [entry for entry in entries if entry["kind"] == "withdrawal"]
    assert entry["actor"] == "local"
    assert entry["payload"] == {
        "edit": gone.edit,
        "revisions": [[ERASED, ERASED]],
        "why": "erasure",
    }
    assert gone.lived.errata.verify().ok


def test_withdrawing_it_again_changes_nothing(gone: Withdrawn) -> None:
    size = gone.lived.errata.verify().entries
    again = gone.lived.errata.withdraw(gone.edit, "legal")
    assert [(span.first, span.last) for span in again.withdrawn] == [(ERASED, ERASED)]
    assert gone.lived.errata.verify().entries == size


def test_what_the_head_holds_has_to_be_reverted_first(gone: Withdrawn) -> None:
    live = gone.lived.edits[-1]
    with pytest.raises(Refused, match="revert it first") as refused:
        gone.lived.errata.erase(live, withdraw=True)
    assert (refused.value.status, refused.value.code) == (409, "wrong_state")
    assert gone.lived.errata.edit(live).subject  # nothing of it was done


def test_another_process_serves_it_no_more(gone: Withdrawn) -> None:
    settings = gone.lived.services.settings
    with local_client(create_app(settings)) as other:
        wait_until(lambda: other.get("/readyz").is_success, _WAIT_S, what="readiness")
        assert _is_gone(_WAYS["completions"](other, ERASED))
        assert _WAYS["completions"](other, ERASED - 1).is_success


def _bundle(gone: Withdrawn, folder: Path) -> Path:
    path = folder / "bundle.tar"
    gone.lived.errata.bundle(path)
    return path


def test_a_bundle_leaves_its_factors_out_and_holds(gone: Withdrawn, tmp_path: Path) -> None:
    path = _bundle(gone, tmp_path)
    cache = gone.lived.services.settings.cache_dir
    verdict = verify_bundle(path, check_weights=Recomputation(str(gone.model), cache, True, silent))
    assert (verdict.ok, verdict.first_bad) == (True, None)
    assert (verdict.weights, verdict.withheld) == ("every revision", 1)
    revision = gone.lived.http.get(f"/v1/revisions/{ERASED}").json()
    assert revision["artefact_digest"] not in str(list(members_of(path)))
    assert gone.lived.services.artefacts.path(revision["artefact_digest"]).exists()


@pytest.mark.parametrize(
    "payload",
    [
        {"revisions": []},
        {"revisions": [[ERASED, HEAD]]},
        {"revisions": [[1, ERASED]]},
        {"edit": "edit_unknown"},
        {"revisions": "all"},
    ],
)
def test_a_false_entry_is_named(gone: Withdrawn, tmp_path: Path, payload: dict[str, Any]) -> None:
    members = members_of(_bundle(gone, tmp_path))
    (place,) = [i for i, line in enumerate(lines_of(members)) if b'"withdrawal"' in line]
    forged = rewritten(members, SigningKey.of(tmp_path), {place: payload})
    verdict = verify_bundle(write_bundle(tmp_path / "forged.tar", forged))
    assert verdict.first_bad is not None
    assert (verdict.first_bad.part, verdict.first_bad.name) == ("entry", place)


def test_factors_are_not_missed_only_where_an_entry_says_so(
    gone: Withdrawn, tmp_path: Path
) -> None:
    members = members_of(_bundle(gone, tmp_path))
    for name in [name for name in members if name.startswith("artefacts/")]:
        left = {other: data for other, data in members.items() if other != name}
        verdict = verify_bundle(write_bundle(tmp_path / "less.tar", left))
        assert verdict.first_bad is not None
        assert verdict.first_bad.part == "artefact"


def _withdraw(history: History, edit_id: str) -> None:
    with history.database.write() as session:
        withdraw(session, edit_id, Why.HARM, actor="client", now=history.clock())


def test_a_rollback_that_was_accepted_before_is_not_committed(history: History) -> None:
    history.edit("a")
    history.undo("away", 0, removed=["a"])
    history.accept_rollback("back", 1)
    _withdraw(history, "a")
    history.claim()
    late = NewRevision(OperationKind.ROLLBACK, 2, ["back"], "weights-1", measured(), restored=["a"])
    with pytest.raises(RevisionWithdrawn):
        history.commit(late)
    assert history.head() == 2


def test_the_worker_rejects_a_rollback_that_came_too_late(service: Service) -> None:
    edit_id = service.submit("France")
    service.ended(edit_id)
    _roll_back(service, 0)
    with service.database.write() as session:  # between the two nobody could claim it
        back = _accept_rollback(session, 1)
        withdraw(session, edit_id, Why.LEGAL, actor="client", now=utc_now())
    service.doorbell.ring(back)
    assert _ended(service, back) == (OperationStatus.REJECTED, "withdrawn")
    assert service.head()[0] == 2
    after = service.submit("Italy")
    assert service.ended(after).status is EditStatus.COMMITTED


def _accept_rollback(session: Session, to_revision: int) -> str:
    return accept(
        session,
        id=new_id("rollback"),
        kind=OperationKind.ROLLBACK,
        details={"to_revision": to_revision},
        actor="client",
        now=utc_now(),
        to_revision=to_revision,
    ).id


def _roll_back(service: Service, to_revision: int) -> None:
    with service.database.write() as session:
        operation = _accept_rollback(session, to_revision)
    service.doorbell.ring(operation)
    assert _ended(service, operation) == (OperationStatus.COMMITTED, None)


def _ended(service: Service, operation_id: str) -> tuple[OperationStatus, str | None]:
    """Status and reason of an operation once it has ended."""

    def found() -> Operation:
        with service.database.read() as session:
            return operations.get(session, operation_id)

    wait_until(lambda: found().finished_at is not None, _WAIT_S, what="the end of the operation")
    return found().status, found().reason


def test_every_span_is_withdrawn_and_nothing_between(history: History) -> None:
    history.edit("a")  # 1
    history.edit("b")  # 2
    history.undo("away", 0, removed=["a", "b"])  # 3
    history.undo("back", 1, restored=["a"])  # 4
    with pytest.raises(WrongState, match="revert it first"):
        _withdraw(history, "a")
    _withdraw(history, "b")
    history.undo("off", 0, removed=["a"])  # 5
    _withdraw(history, "a")
    with history.database.read() as session:
        rows = session.execute(text("SELECT edit_id, first, last FROM withdrawals ORDER BY id"))
        assert [tuple(row) for row in rows] == [("b", 2, 2), ("a", 1, 2), ("a", 4, 4)]


def test_an_edit_that_no_revision_holds_withdraws_none(history: History) -> None:
    history.accept("a")
    _withdraw(history, "a")
    with history.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM withdrawals")) == 0


@pytest.mark.parametrize(
    "write", ["UPDATE withdrawals SET last = first", "DELETE FROM withdrawals"]
)
def test_the_database_refuses_to_take_a_withdrawal_back(history: History, write: str) -> None:
    history.edit("a")
    history.undo("away", 0, removed=["a"])
    _withdraw(history, "a")
    with (
        pytest.raises(DatabaseError, match="never changed or removed"),
        history.database.write() as session,
    ):
        session.execute(text(write))


def test_an_artefact_that_served_revisions_need_stays_in_the_bundle(
    client: TestClient, worked: History, tmp_path: Path
) -> None:
    worked.edit("a", "b")  # one artefact
    worked.edit("c")
    worked.undo("away", 0, removed=["a", "b", "c"])
    worked.edit("d")
    for edit_id, kept in (("a", 2), ("c", 1)):
        assert client.post(f"/v1/edits/{edit_id}/withdraw", json={"why": "legal"}).is_success
        path = tmp_path / f"{edit_id}.tar"
        path.write_bytes(client.get("/v1/ledger/bundle").content)
        verdict = verify_bundle(path)
        assert (verdict.ok, verdict.artefacts, verdict.withheld) == (True, kept, 3 - kept)


@only_sqlite
@pytest.mark.parametrize("body", [{}, {"why": "because"}, {"why": "legal", "more": 1}, []])
def test_a_withdrawal_without_a_known_cause_is_refused(client: TestClient, body: object) -> None:
    assert client.post("/v1/edits/edit_0/withdraw", json=body).status_code == 422


def test_an_unknown_edit_withdraws_nothing(client: TestClient, database: Database) -> None:
    del database
    response = client.post("/v1/edits/edit_0/withdraw", json={"why": "legal"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_edit")
