from typing import Any

import pytest
import typer
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from app.cli.lookback import bisection_lines, difference_tables, drift_table
from app.cli.main import cli
from app.client.answers import Bisection, Difference, RevisionDrift

_FACT = {"edit": "edit_1", "seq": 1, "subject": "Rome", "prompt": "{} is in", "target": "Italy"}
_ERASED = {"edit": "edit_2", "seq": 2, "subject": None, "prompt": None, "target": None}
_SCORE = {"logprob": -1.0, "p": 0.25, "rank": 1, "argmax": " Italy", "match": True}
_SAME: dict[str, Any] = {
    "from": 1,
    "to": 3,
    "same_weights": True,
    "counts": {"added": 0, "removed": 0, "superseded": 0},
    "added": [],
    "removed": [],
    "superseded": [],
    "facts_cut": False,
    "layers": [],
    "probes": [],
    "probes_cut": False,
}
_DIFFERENT: dict[str, Any] = _SAME | {
    "same_weights": False,
    "counts": {"added": 2, "removed": 0, "superseded": 1},
    "added": [_ERASED],
    "superseded": [{"before": _FACT, "after": _FACT | {"edit": "edit_3", "target": "[Latium]"}}],
    "facts_cut": True,
    "layers": [{"layer": 4, "delta_norm": 0.5, "energy_from": 1.0, "energy_to": None}],
    "probes": [
        {"edit": "edit_3", "prompt": "Rome is in", "target": "x", "from": _SCORE, "to": _SCORE}
    ],
}


def _drawn(told: RenderableType) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(told)
    return captured.get()


def test_a_difference_is_told_with_every_kind_of_fact_and_what_was_cut() -> None:
    text = _drawn(difference_tables(Difference.model_validate(_DIFFERENT)))
    assert "2 added, 0 removed, 1 superseded; not all are shown" in text
    assert "(erased)" in text
    assert "Italy → [Latium]" in text
    assert "0.25" in text


def test_no_difference_is_told_in_a_line() -> None:
    told = difference_tables(Difference.model_validate(_SAME))
    assert told == "revisions 1 and 3 are the same"


def test_the_end_of_a_bisection_is_told_with_both_texts() -> None:
    revision = {
        "number": 3,
        "parent": 2,
        "kind": "edit",
        "edits": ["edit_3"],
        "resolved": [],
        "live_edits": 2,
        "weights_digest": "d",
        "created_at": "now",
        "withdrawn_at": None,
    }
    found = Bisection.model_validate(
        {
            "outcome": "found",
            "message": "revision 3 no longer answers as expected",
            "revision": revision,
            "before": {"revision": 2, "text": " Rome", "finish_reason": "stop"},
            "after": {"revision": 3, "text": " Paris", "finish_reason": "stop"},
            "tried": 4,
        }
    )
    assert bisection_lines(found) == [
        "revision 3 no longer answers as expected (4 tried)",
        "it is of kind edit, with edit_3",
        "before, revision 2: ' Rome'",
        "after, revision 3: ' Paris'",
    ]


def test_drift_that_was_not_recorded_is_told_as_such() -> None:
    layer = {"layer": 7, "energy": 1.25, "delta_norm": None, "key_collision": 0.5}
    row = {"kind": "edit", "live_edits": 1, "perplexity": None}
    rows = [row | {"revision": 1, "layers": []}, row | {"revision": 2, "layers": [layer]}]
    lines = _drawn(drift_table([RevisionDrift.model_validate(found) for found in rows]))
    (first, second) = [line for line in lines.splitlines() if "edit" in line]
    assert first.count("—") == 5
    assert second.count("—") == 2
    assert "1.25" in second


@pytest.mark.parametrize(
    "command", [["diff", "one"], ["diff", "0", "1x"], ["drift", "--from", "label"]]
)
def test_what_names_no_revision_is_wrong_usage(command: list[str]) -> None:
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == typer.BadParameter("").exit_code
    assert "is no revision" in result.output
