import json
from typing import Any

import httpx2
import pytest

from tests.acceptance.cli.conftest import Run

EDIT = ("--subject", "Danielle Darrieux", "--prompt", "The mother tongue of {} is")


def answer(run: Run, *arguments: str, status: int = 0) -> Any:
    """What a command prints as JSON."""
    done = run(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_an_edit_is_committed_logged_and_rolled_back_bit_for_bit(errata: Run, server: str) -> None:
    before = httpx2.get(f"{server}/v1/revisions/head").json()
    edit = answer(errata, "edit", *EDIT, "--target", "English", "--method", "memit")
    assert edit["status"] == "committed"
    assert edit["revision"] == before["number"] + 1

    asked = answer(errata, "ask", "The mother tongue of Danielle Darrieux is")
    assert asked["revision"] == edit["revision"]
    pinned = answer(errata, "ask", "Rome", "--revision", str(before["number"]))
    assert pinned["revision"] == before["number"]

    entries = answer(errata, "log")
    assert entries[-1]["kind"] == "revision"
    assert entries[-1]["payload"]["number"] == edit["revision"]
    assert edit["id"] in json.dumps(entries[-1]["payload"])

    operation = answer(errata, "rollback", str(before["number"]), "--reason", "only a test")
    assert operation["status"] == "committed"
    after = httpx2.get(f"{server}/v1/revisions/head").json()
    assert after["number"] == before["number"] + 2
    assert after["weights_digest"] == before["weights_digest"]
    assert answer(errata, "verify")["ok"]


def test_a_label_can_be_rolled_back_to(errata: Run, server: str) -> None:
    kept = answer(errata, "snapshot", "before-the-change")
    before = httpx2.get(f"{server}/v1/revisions/{kept['revision']}").json()
    answer(errata, "edit", *EDIT, "--target", "Spanish", "--method", "memit")
    operation = answer(errata, "rollback", "before-the-change")
    assert (operation["status"], operation["to_revision"]) == ("committed", kept["revision"])
    after = httpx2.get(f"{server}/v1/revisions/head").json()
    assert after["weights_digest"] == before["weights_digest"]
    assert "gets the label before-the-change" in errata("log", "--limit", "5").stdout


def test_a_dry_run_is_computed_and_changes_nothing(errata: Run, server: str) -> None:
    before = httpx2.get(f"{server}/v1/revisions/head").json()
    tried = answer(errata, "edit", *EDIT, "--target", "Dutch", "--method", "memit", "--dry-run")
    assert (tried["status"], tried["revision"]) == ("tried", None)
    assert tried["report"]["after"]["p_target"] != tried["report"]["before"]["p_target"]
    assert httpx2.get(f"{server}/v1/revisions/head").json() == before


def test_the_log_shows_the_newest_entries_in_order(errata: Run) -> None:
    everything = answer(errata, "log", "--limit", "1000")
    assert [entry["index"] for entry in everything] == list(range(len(everything)))
    assert answer(errata, "log", "--limit", "1") == everything[-1:]


def test_people_read_tables_and_sentences(errata: Run) -> None:
    log = errata("log")
    assert log.returncode == 0
    assert "revision 0, the base model tiny" in log.stdout
    assert "holds; head" in errata("verify").stdout
    assert errata("ask", "Rome", "--max-tokens", "3").stdout.strip()
    assert errata("ask", "Rome", "--chat", "--max-tokens", "3").returncode == 0


def test_an_edit_need_not_be_waited_for(errata: Run) -> None:
    edit = answer(errata, "edit", *EDIT, "--target", "German", "--no-wait")
    assert edit["status"] in ("accepted", "running")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("edit", *EDIT, "--target", " "), "target"),
        (("edit", "--subject", "Nobody", "--prompt", "A is", "--target", "B"), "subject"),
        (("rollback", "999"), "999"),
        (("rollback", "nowhere"), "'nowhere'"),
        (("snapshot", "7"), "label"),
        (("requeue", "edit_0"), "edit_0"),
        (("ask", "Rome", "--revision", "999"), "999"),
        (("ask", "Rome", "--max-tokens", "100000"), "context"),
    ],
)
def test_a_refusal_is_told_on_standard_error(
    errata: Run, arguments: tuple[str, ...], told: str
) -> None:
    done = errata(*arguments)
    assert done.returncode == 4
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("ask", "Rome"), ("log",), ("verify",), ("rollback", "0")])
def test_without_a_server_the_status_is_3_and_says_what_to_do(
    alone: Run, command: tuple[str, ...]
) -> None:
    done = alone(*command, "--url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "errata serve" in done.stderr
