import io
import json
import logging
from typing import Any

import pytest
from rich.console import Console, Group
from rich.text import Text

from app.cli.display import (
    StepDisplay,
    as_json,
    complain,
    draw,
    edit_table,
    ledger_summary,
    outcome_line,
    printable,
    say,
    table,
    tell_json,
    tell_text,
)
from app.client.answers import Edit, LedgerEntry
from app.kit.characters import hidden
from app.kit.logs import configure, get_logger


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
        "as_edited": None,
        "erased_at": None,
        "withdrawn": [],
        "warnings": [],
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


def test_why_an_edit_was_not_solved_is_shown_in_words() -> None:
    moment = {"p_target": 0.25, "rank_target": 2, "argmax": " C"}
    assert "None" not in drawn(edit_table(edit(report={"before": moment, "error": None})))
    shown = drawn(edit_table(edit(report={"before": moment, "error": "it has\x1b too many"})))
    assert "it has\\x1b too many" in shown


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


EVIL = "x\x1b[2J\x9b1A\u202e\u200b\r\n\x7f"


def test_a_line_stays_a_line_and_hides_nothing() -> None:
    assert printable(EVIL) == "x\\x1b[2J\\x9b1A\\u202e\\u200b\\r\\n\\x7f"
    assert printable("نمی\u200cخواهم 👩🏽\u200d💻 Zürich") == "نمی\u200cخواهم 👩🏽\u200d💻 Zürich"


def test_a_models_answer_keeps_its_lines_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_text(" one\n\ttwo\x1b[2J\r")
    assert capsys.readouterr().out == " one\n\ttwo\\x1b[2J\\r\n"


def test_json_for_machines_is_exact_and_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"said": EVIL + "\U0001f600é"}
    tell_json(json.dumps(document, ensure_ascii=False))
    told = capsys.readouterr().out
    assert told.isascii()
    assert "\x7f" not in told
    assert json.loads(told) == document


def test_what_went_wrong_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ValueError("first\nsecond\x1b[2J"))
    assert capsys.readouterr().err == "errata: first second\\x1b[2J\n"


def test_whatever_is_drawn_hides_nothing() -> None:
    console = Console(file=io.StringIO(), width=100)
    draw(Group(Text(f"free {EVIL}"), table([EVIL], [[EVIL]], f"[bold]{EVIL}")), console)
    say(console, EVIL)
    told: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert hidden(told, layout=True) is None
    assert "[bold]x\\x1b[2J" in told


def test_a_step_with_a_hostile_name_hides_nothing() -> None:
    console = Console(file=io.StringIO(), width=100)
    with StepDisplay(console) as steps:
        steps(EVIL, 1, 1)
    told: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert hidden(told, layout=True) is None


def test_a_log_for_people_hides_nothing() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    try:
        for form in ("console", "json"):
            configure(form, "info", stream)
            get_logger("app.test").warning(EVIL, said=EVIL)
            logging.getLogger("app.library").warning("said %s", EVIL)
    finally:
        root.handlers[:], _ = kept
        root.setLevel(kept[1])
    assert len(stream.getvalue().splitlines()) == 4
    assert hidden(stream.getvalue(), layout=True) is None


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_than_on_a_terminal_a_long_step_tells_how_far_it_is() -> None:
    console, clock = Console(file=io.StringIO()), _Clock()
    with StepDisplay(console, clock) as steps:
        for done in range(101):
            steps("key statistics", done, 100)
            clock.now += 2.5
    told: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = told.splitlines()
    assert lines[:3] == [
        "key statistics …",
        "key statistics: 4%, about 4 min 0 s left",
        "key statistics: 8%, about 3 min 50 s left",
    ]
    assert lines[-2:] == ["key statistics: 96%, about 10 s left", "key statistics: done"]
    assert len(lines) == 2 + 24
