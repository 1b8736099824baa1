import io
import json
from typing import Any

import pytest
from rich.console import Console

from app.client.answers import Edit, LedgerEntry
from app.display import StepDisplay, as_json, edit_table, ledger_summary, outcome_line, table


def entry(kind: str, payload: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        index=0, kind=kind, payload=payload, actor="local", at="", prev_hash="", hash=""
    )


def edit(**changes: Any) -> Edit:
    fields: dict[str, Any] = {
        "id": "edit_1",
        "seq": 1,
        "status": "committed",
        "subject": "A",
        "prompt": "{} is",
        "target": "B",
        "method": "memit",
        "attempts": 1,
        "revision": 4,
        "reason": None,
        "report": None,
    }
    return Edit(**fields | changes)


def drawn(thing: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(thing)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize(
    ("kind", "payload", "told"),
    [
        ("base", {"model": "tiny"}, "revision 0, the base model tiny"),
        (
            "revision",
            {"number": 3, "kind": "edit", "operations": ["edit_1", "edit_2"]},
            "revision 3 (edit) by edit_1, edit_2",
        ),
        ("operation", {"kind": "edit", "id": "edit_1"}, "accepted edit_1"),
        ("erasure", {"id": "edit_1"}, "erased the words of edit_1"),
        (
            "operation",
            {"kind": "edit", "id": "edit_1", "seq": 9, "former_seq": 2},
            "accepted again edit_1",
        ),
        (
            "operation",
            {"kind": "rollback", "id": "rollback_1", "to_revision": 0},
            "accepted rollback_1 to revision 0",
        ),
        (
            "withdrawal",
            {"edit": "edit_1", "revisions": [[1, 4]], "why": "legal"},
            "withdrew what holds edit_1 (legal)",
        ),
        (
            "verdict",
            {"status": "rejected", "id": "edit_1", "reason": "already_true"},
            "rejected edit_1: already_true",
        ),
    ],
)
def test_a_ledger_entry_is_told_in_one_line(kind: str, payload: dict[str, Any], told: str) -> None:
    assert ledger_summary(entry(kind, payload)) == told


def test_an_edit_is_told_with_its_numbers_once_it_has_some() -> None:
    assert edit_table(edit()) is None
    moment = {"p_target": 0.25, "rank_target": 2, "argmax": " C"}
    shown = drawn(edit_table(edit(report={"before": moment, "after": moment | {"p_target": 0.9}})))
    assert "committed as revision 4" in shown
    assert "0.2500" in shown
    assert "0.9000" in shown


def test_an_edits_gates_are_shown_with_what_they_allow() -> None:
    moment = {"p_target": 0.25, "rank_target": 2, "argmax": " C"}
    gates = [
        {"name": "target_said", "measured": 0.5, "allowed": 1.0, "passed": False},
        {"name": "earlier_kept", "measured": None, "allowed": 0.75, "passed": True},
    ]
    shown = drawn(edit_table(edit(report={"before": moment, "after": moment, "gates": gates})))
    target, earlier = (
        next(line for line in shown.splitlines() if name in line)
        for name in ("target_said", "earlier_kept")
    )
    assert all(part in target for part in ("0.5", "1", "failed"))
    assert all(part in earlier for part in ("—", "0.75"))
    assert "failed" not in earlier


def test_a_rejected_edit_is_told_with_its_reason() -> None:
    rejected = edit(status="rejected", revision=None, reason="already_true")
    assert outcome_line(rejected) == "edit_1 rejected: already_true"


def test_text_from_outside_is_never_markup() -> None:
    assert "[red]x[/red]" in drawn(table(["a"], [["[red]x[/red]"]]))


def test_json_keeps_fields_that_this_client_does_not_know() -> None:
    told = json.loads(as_json([edit(novelty=1)]))
    assert told[0]["novelty"] == 1


def test_elsewhere_than_on_a_terminal_each_step_is_told_once_as_it_begins_and_ends() -> None:
    console = Console(file=io.StringIO())
    with StepDisplay(console) as steps:
        for done in range(4):
            steps("convert model", done, 3)
        steps("convert model", 3, 3)
    told: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert told.splitlines() == ["convert model …", "convert model: done"]
