import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Literal
from unicodedata import normalize

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.kit.characters import hidden
from app.operations.lifecycle import reject
from app.settings import Settings
from editing_core.methods import METHOD_NAMES
from tests.support.history import History
from tests.support.service import FACT, running
from tests.support.waiting import wait_until

Form = Literal["NFC", "NFD"]


def _post(client: TestClient, **changes: object) -> Response:
    return client.post("/v1/edits", json=FACT | changes)


def test_an_edit_is_accepted_and_can_be_read_back(client: TestClient) -> None:
    sent = {
        "target_old": "French",
        "paraphrases": ["Danielle Darrieux natively speaks"],
        "neighbours": [{"prompt": "Michel Rocard speaks", "answer": "French", "separator": None}],
        "method": "memit+sphere",
        "force": True,
        "metadata": {"ticket": "KB-17"},
    }
    response = _post(client, **sent)
    assert response.status_code == 202
    edit = response.json()
    assert response.headers["Location"] == f"/v1/edits/{edit['id']}"
    assert edit.items() >= (FACT | sent).items()
    assert (edit["seq"], edit["status"], edit["attempts"]) == (1, "accepted", 0)
    assert edit["revision"] is edit["reason"] is edit["report"] is edit["finished_at"] is None
    assert client.get(response.headers["Location"]).json() == edit
    operation = client.get(f"/v1/operations/{edit['id']}").json()
    assert (operation["kind"], operation["seq"]) == ("edit", 1)


def test_the_prompt_may_hold_the_subject_itself(client: TestClient) -> None:
    prompt = "The mother tongue of Danielle Darrieux is"
    assert _post(client, prompt=prompt).json()["prompt"] == prompt


def _as_edited(client: TestClient, **changes: object) -> tuple[dict[str, str], list[str]]:
    edit = _post(client, **changes).json()
    return edit["as_edited"], edit["warnings"]


def test_an_edit_shows_its_words_as_they_are_edited(client: TestClient) -> None:
    edited, warnings = _as_edited(client)
    assert edited == FACT | {"separator": " "}
    assert warnings == []


@pytest.mark.parametrize(
    ("changes", "separator"),
    [
        ({"prompt": "The page of {} is https://", "target": "acme"}, ""),
        ({"prompt": "The page of {} is https://", "target": "acme", "separator": " "}, " "),
        ({"separator": ""}, ""),
        ({"subject": "中国", "prompt": "{}的首都是", "target": "上海"}, ""),
        ({"subject": "中国", "prompt": "{}的首都是", "target": " 上海"}, " "),
        ({"prompt": "What does {} speak?\n"}, ""),
    ],
)
def test_what_stands_before_the_target_is_told(
    client: TestClient, changes: dict[str, str], separator: str
) -> None:
    assert _as_edited(client, **changes)[0]["separator"] == separator


def test_a_space_at_the_end_of_a_prompt_is_told_to_be_left_out(client: TestClient) -> None:
    spaced = {
        "prompt": "The mother tongue of {} is ",
        "paraphrases": ["Danielle speaks", "Danielle talks "],
        "neighbours": [{"prompt": "Michel speaks\t"}],
    }
    edited, (warning,) = _as_edited(client, **spaced)
    assert edited["prompt"] == "The mother tongue of {} is"
    assert warning.startswith(
        "prompt, paraphrases[1], neighbours[0].prompt are edited and measured"
    )
    (found,) = client.get("/v1/edits").json()["items"]
    assert (found["prompt"], found["paraphrases"][1]) == (spaced["prompt"], "Danielle talks ")


@pytest.mark.parametrize(("subject", "prompt"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_how_unicode_writes_a_name_makes_no_other_fact(
    client: TestClient, subject: Form, prompt: Form
) -> None:
    sent = {
        "subject": normalize(subject, "Beyoncé"),
        "prompt": normalize(prompt, "We know that Beyoncé was born in"),
    }
    edit = _post(client, **sent).json()
    assert edit.items() >= sent.items()
    assert edit["as_edited"]["prompt"] == "We know that {} was born in"
    assert edit["as_edited"]["subject"] == "Beyoncé"
    assert "NFC" in edit["warnings"][0]
    for form in ("NFC", "NFD"):
        found = client.get("/v1/edits", params={"subject": normalize(form, "BEYONCÉ")}).json()
        assert [one["id"] for one in found["items"]] == [edit["id"]]


def test_an_edit_names_the_method_of_the_settings_unless_it_names_its_own(
    client: TestClient,
) -> None:
    assert _post(client).json()["method"] == "memit+sphere"


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"subject": "Nobody", "prompt": "The mother tongue of him is"}, "prompt", "0 times"),
        ({"prompt": "{} or {}"}, "prompt", "2 '{}'"),
        ({"prompt": "Danielle Darrieux, Danielle Darrieux"}, "prompt", "2 times"),
        (
            {"subject": "Ann", "prompt": "Annapolis lies in"},
            "prompt",
            "inside 'Annapolis'",
        ),
        ({"separator": "-"}, "separator", "' '"),
        ({"target": ""}, "target", "at least 1"),
        ({"target": " \t"}, "target", "visible character"),
        ({"subject": "x" * 501}, "subject", "at most 500"),
        ({"prompt": "{}" + "x" * 1_000_000}, "prompt", "at most 4000"),
        ({"subject": "a\x00b"}, "subject", "NUL"),
        ({"method": "nonsense"}, "method", ", ".join(METHOD_NAMES)),
        ({"force": "yes"}, "force", "boolean"),
        ({"paraphrases": ["ok", "\x00"]}, "paraphrases[1]", "NUL"),
        ({"neighbours": [{"prompt": ""}]}, "neighbours[0].prompt", "at least 1"),
        ({"neighbours": [{"prompt": "x", "anwser": "y"}]}, "neighbours[0].anwser", "not known"),
        ({"paraphrases": ["x"] * 51}, "paraphrases", "at most 50"),
        ({"metadata": {"nested": {}}}, "metadata.nested", "string"),
        ({"targets": "x"}, "targets", "not known"),
    ],
)
def test_an_unusable_field_is_named_with_what_would_be_accepted(
    client: TestClient, changes: dict[str, object], field: str, says: str
) -> None:
    response = _post(client, **changes)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["error"]["param"] == field
    assert says in problem["detail"]
    assert problem["error"]["message"] == problem["detail"]
    assert (problem["status"], problem["instance"]) == (422, "/v1/edits")
    assert client.get("/v1/edits").json()["items"] == []


@pytest.mark.parametrize("field", ["subject", "prompt", "target"])
def test_a_missing_field_is_named(client: TestClient, field: str) -> None:
    response = client.post("/v1/edits", json={k: v for k, v in FACT.items() if k != field})
    assert (response.status_code, response.json()["error"]["param"]) == (422, field)


_ESCAPE = "U+001B ESCAPE"
_OVERRIDE = "U+202E RIGHT-TO-LEFT OVERRIDE"


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"subject": "Paris\x1b[2J"}, "subject", f"character 6 is {_ESCAPE}"),
        ({"subject": "\u202esiraP"}, "subject", f"character 1 is {_OVERRIDE}"),
        ({"prompt": "{} is\u200b"}, "prompt", "character 6 is U+200B ZERO WIDTH SPACE"),
        ({"target": "France\nGermany"}, "target", "character 7 is U+000A LINE FEED"),
        ({"target_old": "\ufeffa"}, "target_old", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ({"paraphrases": ["a", "b\x1b"]}, "paraphrases[1]", _ESCAPE),
        ({"neighbours": [{"prompt": "a\u00ad"}]}, "neighbours[0].prompt", "U+00AD SOFT HYPHEN"),
        ({"neighbours": [{"prompt": "a", "answer": "\x07"}]}, "neighbours[0].answer", "U+0007"),
        ({"metadata": {"ticket": "\u202e1"}}, "metadata.ticket", _OVERRIDE),
        ({"metadata": {"a\x1b[31m": "b"}}, "metadata.a\\x1b[31m.[key]", _ESCAPE),
        ({"subject": "\U000e0041"}, "subject", "U+E0041 TAG LATIN CAPITAL LETTER A"),
    ],
)
def test_a_character_that_readers_do_not_see_is_named_and_not_repeated(
    client: TestClient, changes: dict[str, object], field: str, says: str
) -> None:
    response = _post(client, **changes)
    problem = response.json()
    assert (response.status_code, problem["error"]["param"]) == (422, field)
    assert says in problem["detail"]
    assert hidden(problem["detail"]) is None
    assert client.get("/v1/edits").json()["items"] == []


def test_a_prompt_may_have_several_lines_and_a_persian_one_its_joiners(client: TestClient) -> None:
    prompt = "Q: نمی\u200cخواهم?\n\tA: {} is"
    assert _post(client, prompt=prompt).json()["prompt"] == prompt


def test_a_subject_that_looks_like_another_is_accepted_and_told_of(client: TestClient) -> None:
    first = _post(client, subject="Paris", prompt="{} lies in").json()
    assert (first["look_alikes"], first["warnings"]) == ([], [])
    same = _post(client, subject="PARIS", prompt="{} is in").json()
    assert same["look_alikes"] == []  # another spelling, not another subject
    forged = _post(client, subject="P\u0430ris", prompt="{} lies in").json()
    assert forged["look_alikes"] == [
        {"subject": "Paris", "edit": first["id"]},
        {"subject": "PARIS", "edit": same["id"]},
    ]
    assert forged["warnings"] == [
        "the word 'P\u0430ris' of the subject mixes Latin and Cyrillic letters"
    ]
    seen = client.get(f"/v1/edits/{first['id']}").json()["look_alikes"]
    assert seen == [{"subject": "P\u0430ris", "edit": forged["id"]}]
    assert client.get("/v1/edits").json()["items"][0]["look_alikes"] is None


def test_what_is_withdrawn_is_no_look_alike(client: TestClient) -> None:
    first = _post(client, subject="Paris", prompt="{} lies in").json()
    client.delete(f"/v1/edits/{first['id']}")
    forged = _post(client, subject="P\u0430ris", prompt="{} lies in").json()
    assert forged["look_alikes"] == []


def test_a_subject_is_found_in_every_spelling(client: TestClient) -> None:
    edit = _post(client, subject="Andr\u00e9", prompt="{} lies in").json()
    found = client.get("/v1/edits", params={"subject": "ANDRE\u0301"}).json()["items"]
    assert [item["id"] for item in found] == [edit["id"]]


def test_a_key_makes_one_edit_however_often_it_is_sent(client: TestClient) -> None:
    def post(_: int) -> str:
        response = client.post("/v1/edits", json=FACT, headers={"Idempotency-Key": "once"})
        assert response.status_code == 202
        return str(response.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(post, range(24)))) == 1
    assert len(client.get("/v1/edits").json()["items"]) == 1


def test_a_key_with_another_body_is_refused(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    assert client.post("/v1/edits", json=FACT, headers=key).status_code == 202
    spelled_out = FACT | {"force": False, "paraphrases": []}
    assert client.post("/v1/edits", json=spelled_out, headers=key).status_code == 202
    response = client.post("/v1/edits", json=FACT | {"target": "German"}, headers=key)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_mismatch"


@pytest.mark.parametrize("key", ["", "k" * 256, "two words"])
def test_an_unusable_key_is_refused(client: TestClient, key: str) -> None:
    response = client.post("/v1/edits", json=FACT, headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "Idempotency-Key")


def test_a_refused_edit_does_not_use_up_its_key(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    assert client.post("/v1/edits", json=FACT | {"target": ""}, headers=key).status_code == 422
    assert client.post("/v1/edits", json=FACT, headers=key).status_code == 202


def test_many_threads_post_without_a_gap_or_a_loss(client: TestClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: _post(client, subject=f"S{n}"), range(40)))
    assert {answer.status_code for answer in answers} == {202}
    items = client.get("/v1/edits").json()["items"]
    assert [item["seq"] for item in items] == list(range(1, 41))
    assert {item["subject"] for item in items} == {f"S{n}" for n in range(40)}
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_edits_are_listed_by_page_status_and_subject(client: TestClient) -> None:
    for number in range(5):
        _post(client, subject=f"Subject {number % 2}")
    first = client.get("/v1/edits", params={"limit": 3}).json()
    rest = client.get("/v1/edits", params={"limit": 3, "after": first["next"]}).json()
    assert [edit["seq"] for edit in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert rest["next"] is None
    found = client.get("/v1/edits", params={"subject": "subject  1", "status": "accepted"}).json()
    assert [edit["seq"] for edit in found["items"]] == [2, 4]
    assert client.get("/v1/edits", params={"status": "reverted"}).json()["items"] == []


def test_waiting_answers_with_the_finished_edit(client: TestClient, worked: History) -> None:
    answers: list[Response] = []
    header = {"Prefer": "respond-async, wait=30"}
    post = threading.Thread(
        target=lambda: answers.append(client.post("/v1/edits", json=FACT, headers=header))
    )
    post.start()
    wait_until(lambda: bool(worked.claim()), 10.0, what="an accepted edit")
    edit_id = client.get("/v1/edits").json()["items"][0]["id"]
    with worked.database.write() as session:
        reject(session, edit_id, "already_true", now=worked.clock(), actor="worker", report=None)
    post.join(10.0)
    assert answers[0].status_code == 200
    assert answers[0].json().items() >= {"status": "rejected", "reason": "already_true"}.items()


def test_waiting_in_vain_answers_with_the_accepted_edit(client: TestClient) -> None:
    response = client.post("/v1/edits", json=FACT, headers={"Prefer": "wait=0"})
    assert (response.status_code, response.json()["status"]) == (202, "accepted")


def test_an_accepted_edit_can_be_cancelled_once(client: TestClient) -> None:
    location = _post(client).headers["Location"]
    cancelled = client.delete(location)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    again = client.delete(location)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "wrong_state")


def test_only_a_committed_edit_can_be_reverted(client: TestClient, worked: History) -> None:
    worked.edit("edit_live")
    response = client.post("/v1/edits/edit_live/revert", json={"reason": "wrong source"})
    assert response.status_code == 202
    operation = client.get(response.headers["Location"]).json()
    expected = {"kind": "revert", "target_edit": "edit_live", "reason": "wrong source"}
    assert operation.items() >= expected.items()
    waiting = _post(client).json()["id"]
    assert client.post(f"/v1/edits/{waiting}/revert", json={}).status_code == 409


def test_a_revert_shows_how_it_was_asked_for(client: TestClient, worked: History) -> None:
    worked.edit("edit_live")
    path = "/v1/edits/edit_live/revert"
    asked = client.post(f"{path}?dry_run=true", json={"force": True, "restore": False}).json()
    options = {"dry_run": True, "force": True, "restore": False, "report": None}
    assert asked.items() >= options.items()
    plain = client.post(path, json={}).json()
    assert plain.items() >= {"dry_run": False, "force": False, "restore": True}.items()
    assert client.post(path, json={"force": "yes"}).json()["error"]["param"] == "force"


@pytest.mark.parametrize("path", ["/v1/edits/edit_0", "/v1/operations/edit_0"])
def test_what_does_not_exist_is_a_404(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "edit_0" in response.json()["detail"]


def test_edits_survive_a_restart_in_order(settings: Settings) -> None:
    with running(settings) as client:
        posted = [_post(client, subject=f"S{number}").json()["id"] for number in range(3)]
    with running(settings) as client:
        assert [edit["id"] for edit in client.get("/v1/edits").json()["items"]] == posted
        assert _post(client).json()["seq"] == 4


def test_a_replay_is_recalled_though_it_would_be_refused_now(settings: Settings) -> None:
    key = {"Idempotency-Key": "once"}
    body = FACT | {"gates": {"target_p": 0.5}}
    batch = {"edits": [body], "atomic": True}
    with running(settings) as client:
        accepted = client.post("/v1/edits", json=body, headers=key).json()
        batched = client.post("/v1/edit-batches", json=batch, headers={"Idempotency-Key": "b"})
    stricter = settings.model_copy(update={"gate_target_p": 0.9})
    with running(stricter) as client:
        assert client.post("/v1/edits", json=body).status_code == 422
        again = client.post("/v1/edits", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (202, accepted["id"])
        more = client.post("/v1/edit-batches", json=batch, headers={"Idempotency-Key": "b"})
        assert (more.status_code, more.json()["id"]) == (202, batched.json()["id"])
