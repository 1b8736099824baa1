"""Erasing the words of an edit: what goes, and what stays."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from pydantic import BaseModel
from sqlalchemy import select, text
from starlette.testclient import TestClient

from app.database.database import Database
from app.database.tables.erasures import Erasure
from app.database.tables.schema import metadata
from app.facts.edit_report import EditReport, NeighbourReport, ParaphraseReport, Standing
from app.operations.lifecycle import give_up, reject
from app.settings import Settings
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.service import FACT, running
from tests.support.waiting import wait_until

NAME = "Zanzibarbara"
KEY = f"import-{NAME}"
_WAIT_S = 30.0
WORDS = {
    "subject": NAME,
    "prompt": f"The mother tongue of {NAME} is",
    "target": f"{NAME}ish",
    "target_old": f"old{NAME}",
    "paraphrases": [f"{NAME} speaks"],
    "neighbours": [{"prompt": f"Near {NAME} they speak", "answer": f"not{NAME}"}],
    "metadata": {"ticket": f"KB-{NAME}"},
}
REPORT = EditReport(
    before=Standing(p_target=0.25, rank_target=3, argmax=f" {NAME}"),
    error=f"{NAME} cannot be solved",
    after=Standing(p_target=0.75, rank_target=1, argmax=f" {NAME}ish"),
    paraphrases=[
        ParaphraseReport(prompt=f"{NAME} speaks", p_target_before=0.125, p_target_after=0.5)
    ],
    neighbours=[NeighbourReport(prompt=f"Near {NAME} they speak", kept=True)],
).model_dump(mode="json")


def _post(client: TestClient) -> str:
    response = client.post("/v1/edits", json=WORDS, headers={"Idempotency-Key": KEY})
    assert response.status_code == 202
    return str(response.json()["id"])


def _erase(client: TestClient, edit_id: str) -> Response:
    return client.post(f"/v1/edits/{edit_id}/erase")


@pytest.fixture
def committed(client: TestClient, worked: History) -> str:
    """An edit with a report full of words."""
    edit_id = _post(client)
    worked.claim()
    worked.commit_edits([edit_id], report=REPORT)
    return edit_id


def test_the_words_are_gone_and_the_numbers_stay(client: TestClient, committed: str) -> None:
    before = client.get(f"/v1/edits/{committed}").json()
    assert (NAME in str(before), before["erased_at"]) == (True, None)
    response = _erase(client, committed)
    assert response.status_code == 200
    edit = response.json()
    assert NAME not in response.text
    assert edit["subject"] is edit["prompt"] is edit["target"] is edit["target_old"] is None
    assert (edit["paraphrases"], edit["neighbours"], edit["metadata"]) == ([], [], {})
    assert edit["erased_at"]
    assert (edit["status"], edit["revision"]) == ("committed", 1)
    report = edit["report"]
    assert report["before"] == {"p_target": 0.25, "rank_target": 3, "argmax": None}
    assert report["paraphrases"][0]["p_target_after"] == 0.5
    assert report["neighbours"] == [{"prompt": None, "kept": True}]
    assert client.get(f"/v1/edits/{committed}").json() == edit
    assert client.get("/v1/edits", params={"subject": NAME}).json()["items"] == []


def test_no_table_holds_a_word_of_it(client: TestClient, worked: History, committed: str) -> None:
    revert = client.post(f"/v1/edits/{committed}/revert", json={"reason": f"{NAME} objects"})
    assert NAME in _every_row(worked)
    _erase(client, committed)
    assert NAME not in _every_row(worked)
    assert client.get(revert.headers["Location"]).json()["reason"] is None


def _every_row(history: History) -> str:
    with history.database.read() as session:
        return str([session.execute(select(table)).all() for table in metadata.sorted_tables])


def _files(folder: Path) -> bytes:
    """Every byte of a SQLite database: the file, its log, and the log's index.

    Read by another process: ours would lose its locks on a file that it opens and closes (POSIX).
    """
    paths = sorted(folder.glob("errata.db*"))
    return subprocess.run(["cat", *paths], capture_output=True, check=True).stdout if paths else b""


@only_sqlite
def test_no_byte_of_it_stays_in_the_file(
    client: TestClient, committed: str, tmp_path: Path
) -> None:
    assert NAME.encode() in _files(tmp_path)
    response = _erase(client, committed)
    assert NAME.encode() not in _files(tmp_path)
    assert (response.status_code, response.json()["erasure"]["state"]) == (200, "done")


@only_sqlite
def test_no_byte_of_a_long_text_stays_in_the_file(client: TestClient, tmp_path: Path) -> None:
    long = [f"{number} {NAME} " + "and so on " * 380 for number in range(15)]  # pages of overflow
    edit_id = client.post("/v1/edits", json=WORDS | {"paraphrases": long}).json()["id"]
    client.delete(f"/v1/edits/{edit_id}")
    assert _files(tmp_path).count(NAME.encode()) > len(long)
    assert _erase(client, edit_id).status_code == 200
    assert NAME.encode() not in _files(tmp_path)


@contextmanager
def _reading_here(url: str) -> Iterator[None]:
    """Somebody reads the tables over a connection of their own, and goes on reading."""
    database = Database(url)
    with database.read() as session:
        session.execute(text("SELECT count(*) FROM edit_texts")).all()
        yield
    database.close()


_READER = """
import sys
from sqlalchemy import text
from app.database.database import Database
with Database(sys.argv[1]).read() as session:
    session.execute(text("SELECT count(*) FROM edit_texts")).all()
    print("reads", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _reading_elsewhere(url: str) -> Iterator[None]:
    """The same in another process."""
    command = [sys.executable, "-c", _READER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reads\n"
        yield


@pytest.mark.parametrize("reading", [_reading_here, _reading_elsewhere])
def test_it_is_not_said_to_be_done_before_the_last_reader_has_gone(
    client: TestClient, committed: str, settings: Settings, tmp_path: Path, reading: Any
) -> None:
    on_sqlite = settings.database_url.startswith("sqlite")
    with reading(settings.database_url):
        response = _erase(client, committed)
        assert (response.status_code, NAME in response.text) == (202, False)
        edit = client.get(f"/v1/edits/{committed}").json()
        assert (edit["erased_at"], edit["subject"]) == (None, None)
        assert edit["erasure"]["state"] == "pending"
        assert "errata_erasures_pending 1.0" in client.get("/metrics").text
        assert _erase(client, committed).status_code == 202
        client.post("/v1/edits", json=FACT)  # no commit of others makes it done
        assert client.get(f"/v1/edits/{committed}").json()["erased_at"] is None
        assert (NAME.encode() in _files(tmp_path)) is on_sqlite

    def is_done() -> bool:
        found = client.get(f"/v1/edits/{committed}")
        assert found.is_success, found.text
        return found.json()["erased_at"] is not None

    wait_until(is_done, _WAIT_S, what="the end of the erasure")
    assert NAME.encode() not in _files(tmp_path)
    assert client.get(f"/v1/edits/{committed}").json()["erasure"]["state"] == "done"
    assert "errata_erasures_pending 0.0" in client.get("/metrics").text
    assert _erase(client, committed).status_code == 200


def test_who_begins_to_read_afterwards_is_in_nobodys_way(
    client: TestClient, committed: str, settings: Settings
) -> None:
    with running(settings) as other:  # whose connections have read, and are kept open
        assert other.get(f"/v1/edits/{committed}").json()["subject"] == NAME
        assert _erase(client, committed).status_code == 200
        assert other.get(f"/v1/edits/{committed}").json()["erased_at"]


def test_a_start_completes_what_a_process_before_left(
    settings: Settings, database: Database
) -> None:
    history = History(database)
    history.edit("a")
    history.erase("a")
    with database.read() as session:
        assert session.get_one(Erasure, "a").done_at is None
    with running(settings) as client:
        edit = client.get("/v1/edits/a").json
        wait_until(lambda: edit()["erased_at"] is not None, _WAIT_S, what="the end")


def test_the_reason_of_a_rollback_can_be_erased(client: TestClient, worked: History) -> None:
    rollback = client.post("/v1/rollbacks", json={"to_revision": 0, "reason": f"{NAME} objects"})
    path = rollback.headers["Location"]
    assert (client.get(path).json()["erasure"], NAME in _every_row(worked)) == (None, True)
    erased = client.post(f"{path}/erase")
    assert (erased.status_code, erased.json()["reason"]) == (200, None)
    assert erased.json()["erased_at"]
    assert client.get(path).json() == erased.json() == client.post(f"{path}/erase").json()
    assert NAME not in _every_row(worked)
    entries = client.get("/v1/ledger").json()["items"]
    assert [entry["payload"] for entry in entries if entry["kind"] == "erasure"] == [
        {"id": rollback.json()["id"]}
    ]
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_code_is_not_taken_for_a_reason(client: TestClient, worked: History) -> None:
    path = client.post("/v1/rollbacks", json={"to_revision": 0}).headers["Location"]
    (operation,) = worked.claim()
    with worked.database.write() as session:
        reject(session, operation.id, "withdrawn", now=worked.clock(), actor="worker")
    assert client.post(f"{path}/erase").json()["reason"] == "withdrawn"


def test_an_edit_is_not_erased_as_an_operation(client: TestClient, committed: str) -> None:
    response = client.post(f"/v1/operations/{committed}/erase")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "wrong_state")
    assert f"/v1/edits/{committed}/erase" in response.json()["detail"]
    assert client.post("/v1/operations/rollback_0/erase").status_code == 404


def test_chain_weights_and_artefact_stay(
    client: TestClient, worked: History, committed: str
) -> None:
    head = client.get("/v1/revisions/head").json()
    _erase(client, committed)
    assert client.get("/v1/revisions/head").json() == head
    verdict = client.get("/v1/ledger/verify").json()
    assert (verdict["ok"], verdict["entries"]) == (True, 4)
    last = client.get("/v1/ledger").json()["items"][-1]
    assert (last["kind"], last["payload"], last["actor"]) == ("erasure", {"id": committed}, "local")
    reverted = client.post(f"/v1/edits/{committed}/revert", json={})
    assert reverted.status_code == 202
    assert [operation.id for operation in worked.claim()] == [reverted.json()["id"]]


def test_erasing_twice_is_erasing_once(client: TestClient, committed: str) -> None:
    once = _erase(client, committed).json()
    again = _erase(client, committed)
    assert (again.status_code, again.json()) == (200, once)
    kinds = [entry["kind"] for entry in client.get("/v1/ledger").json()["items"]]
    assert kinds.count("erasure") == 1


def test_an_edit_that_is_still_to_be_executed_is_refused(
    client: TestClient, worked: History
) -> None:
    edit_id = _post(client)
    waiting = _erase(client, edit_id)
    assert (waiting.status_code, waiting.json()["error"]["code"]) == (409, "wrong_state")
    assert "cancel it first" in waiting.json()["detail"]
    worked.claim()
    assert "wait for its end" in _erase(client, edit_id).json()["detail"]
    assert client.get(f"/v1/edits/{edit_id}").json()["subject"] == NAME


@pytest.mark.parametrize("end", ["cancelled", "rejected", "dead"])
def test_an_edit_that_never_had_an_effect_can_be_erased(
    client: TestClient, worked: History, end: str
) -> None:
    edit_id = _post(client)
    if end == "cancelled":
        client.delete(f"/v1/edits/{edit_id}")
    else:
        worked.claim()
        with worked.database.write() as session:
            if end == "rejected":
                reject(session, edit_id, "x", now=worked.clock(), actor="worker", report=REPORT)
            else:
                give_up(session, edit_id, "crashed", now=worked.clock(), actor="worker")
    response = _erase(client, edit_id)
    assert (response.status_code, response.json()["status"]) == (200, end)
    assert NAME not in response.text
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_an_unknown_edit_cannot_be_erased(client: TestClient) -> None:
    assert _erase(client, "edit_0").status_code == 404


def test_its_key_makes_no_second_edit(client: TestClient, committed: str) -> None:
    _erase(client, committed)
    for body in (WORDS, FACT):
        response = client.post("/v1/edits", json=body, headers={"Idempotency-Key": KEY})
        code = response.json()["error"]["code"]
        assert (response.status_code, code) == (422, "idempotency_mismatch")


def test_an_erased_edit_survives_a_restart(settings: Settings) -> None:
    with running(settings) as client:
        edit_id = client.post("/v1/edits", json=FACT).json()["id"]
        client.delete(f"/v1/edits/{edit_id}")
        erased = _erase(client, edit_id).json()
    with running(settings) as client:
        assert client.get(f"/v1/edits/{edit_id}").json() == erased


def _texts(kind: type[BaseModel]) -> set[tuple[str, str]]:
    """Every field of a model, or of one in it, that may hold text."""
    found: set[tuple[str, str]] = set()
    for name, field in kind.model_fields.items():
        parts: list[Any] = [field.annotation]
        while parts:
            part = parts.pop()
            parts += getattr(part, "__args__", ())
            if part is str:
                found.add((kind.__name__, name))
            elif isinstance(part, type) and issubclass(part, BaseModel):
                found |= _texts(part)
    return found


def test_every_text_in_a_report_is_known_to_erasing() -> None:
    ours = {
        ("GateReport", "name"),
        ("EditWarning", "name"),
        ("EditWarning", "message"),
        ("FactReport", "edit"),
    }
    assert _texts(EditReport) - ours == {
        ("EditReport", "error"),
        ("Standing", "argmax"),
        ("ParaphraseReport", "prompt"),
        ("NeighbourReport", "prompt"),
    }
