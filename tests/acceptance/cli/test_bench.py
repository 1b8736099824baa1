import json
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from tests.acceptance.cli.conftest import Run
from tests.acceptance.server import calibrate_quickly, environment
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

COUNTERFACT = Path(__file__).parent.parent / "data" / "counterfact_20.jsonl"
EDITS = 16
METHODS = "memit,alphaedit+sphere"
ROW = {
    "method", "edits", "efficacy", "generalization", "specificity", "efficacy_accuracy",
    "generalization_accuracy", "specificity_accuracy", "perplexity", "energy_ratio",
    "seconds_per_edit", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, its calibration, records and a short reference text."""
    folder = tmp_path_factory.mktemp("bench")
    build_tiny_model(folder / "tiny")
    calibrate_quickly(folder / "data")
    (folder / "reference.txt").write_text("The capital of Italy is Rome, and so on. " * 20)
    with (folder / "counterfact.jsonl").open("w") as file:
        for line in COUNTERFACT.read_text().splitlines():
            file.write(json.dumps(full_record(json.loads(line))) + "\n")
    return folder


def full_record(short: dict[str, Any]) -> dict[str, Any]:
    """A record of 20 in the form of the whole set, with prompts of its own."""
    return {
        "case_id": short["case_id"],
        "requested_rewrite": {
            "subject": short["subject"],
            "prompt": short["prompt"],
            "target_new": {"str": short["target_new"]},
            "target_true": {"str": short["target_true"]},
        },
        "paraphrase_prompts": [f"So they say. {short['prompt'].replace('{}', short['subject'])}"],
        "neighborhood_prompts": ["Michel Rocard is a native speaker of", "Rome is"],
    }


def command(home: Path, out: str, *more: str, methods: str = METHODS) -> list[str]:
    return [
        "bench", "--data", str(home / "counterfact.jsonl"), "--format", "counterfact",
        "--methods", methods, "--edits", str(EDITS), "--batch-size", "1", "--evaluate-every", "6",
        "--limit-evaluation", "5", "--reference", str(home / "reference.txt"),
        "--model", str(home / "tiny"), "--data-dir", str(home / "data"), "--out", str(home / out),
        *more,
    ]  # fmt: skip


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = ("seconds", "command")  # what the other run has of its own
    return [{k: v for k, v in row.items() if not k.startswith(told)} for row in rows]


def batches(folder: Path) -> int:
    return len(list(folder.glob("runs/*/*.safetensors")))


def kill_after_progress(home: Path, out: str) -> None:
    """Start the benchmark, and SIGKILL it once it has made more edits than before."""
    before = batches(home / out)
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", *command(home, out)],
        env=environment(home / "data"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: batches(home / out) > before or process.poll() is not None, 120)
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted(home: Path) -> list[dict[str, Any]]:
    subprocess.run(
        [sys.executable, "-m", "app.cli", *command(home, "whole")],
        env=environment(home / "data"),
        check=True,
        capture_output=True,
    )
    rows: list[dict[str, Any]] = json.loads((home / "whole" / "results.json").read_text())
    return rows


def test_it_measures_every_method_on_the_way_and_at_the_end(
    home: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    assert [(row["method"], row["edits"]) for row in uninterrupted] == [
        (method, edits) for method in METHODS.split(",") for edits in (6, 12, 16)
    ]
    assert [row["measured"] for row in uninterrupted] == [5, 5, 16] * 2
    assert all(row.keys() >= ROW for row in uninterrupted)
    assert all(0 <= row["efficacy"] <= 100 for row in uninterrupted)
    assert uninterrupted[-1]["seconds_per_edit"] > 0
    document = (home / "whole" / "results.md").read_text()
    assert "errata bench --data" in document
    assert "| unedited | 0 |" in document
    assert "0 conflicting and 0 unusable dropped" in document
    for plot in ("metrics", "energy", "weights"):
        assert (home / "whole" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.crash
@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_ends_as_if_nothing_had_happened(
    home: Path, alone: Run, uninterrupted: list[dict[str, Any]]
) -> None:
    for _ in range(3):
        kill_after_progress(home, "killed")
    assert 3 <= batches(home / "killed") < 2 * EDITS
    begun = {
        path: path.stat().st_mtime_ns for path in (home / "killed").glob("runs/*/*.safetensors")
    }
    done = alone(*command(home, "killed", "--json"))
    assert done.returncode == 0, done.stderr
    assert without_time(json.loads(done.stdout)) == without_time(uninterrupted)
    for path in (home / "killed").glob("runs/*/*.safetensors"):
        twin = home / "whole" / path.relative_to(home / "killed")
        assert path.read_bytes() == twin.read_bytes()
    # Only the last batch, whose end was perhaps not noted, may have been made twice.
    again = [path for path, made in begun.items() if path.stat().st_mtime_ns != made]
    assert len(again) <= 1


def test_a_finished_run_is_not_done_again_and_takes_another_method(
    home: Path, alone: Run, uninterrupted: list[dict[str, Any]]
) -> None:
    done = alone(*command(home, "whole", "--json", methods="memit-seq"))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["method"] for row in rows[:3]] == ["memit-seq"] * 3
    assert sorted(rows[3:], key=lambda row: row["method"], reverse=True) == uninterrupted


def test_another_configuration_is_refused_by_what_differs(
    home: Path, alone: Run, uninterrupted: list[dict[str, Any]]
) -> None:
    assert uninterrupted
    done = alone(*command(home, "whole", "--seed", "3"))
    assert done.returncode == 1
    assert "seed is 3, there 0" in done.stderr


def test_a_folder_whose_factors_are_gone_takes_another_method(
    home: Path, alone: Run, uninterrupted: list[dict[str, Any]]
) -> None:
    assert uninterrupted
    copytree(home / "whole", home / "light", ignore=ignore_patterns("*.safetensors"))
    done = alone(*command(home, "light", "--json", methods="emmet"))
    assert done.returncode == 0, done.stderr
    assert {row["method"] for row in json.loads(done.stdout)} >= {"emmet", *METHODS.split(",")}


def test_it_edits_by_the_recipe_it_is_given(home: Path, alone: Run) -> None:
    short = ["--edits", "2", "--evaluate-every", "2"]
    plain = alone(*command(home, "plain", "--no-chat", "--patience", "3", *short, methods="memit"))
    assert plain.returncode == 0, plain.stderr
    recipe = json.loads((home / "plain" / "recipe.json").read_text())
    assert recipe["value"]["patience"] == 3
    assert all(context.endswith("{}") for group in recipe["contexts"] for context in group)
    given = ["--recipe", str(home / "plain" / "recipe.json"), *short]
    same = alone(*command(home, "plain", "--json", *given, methods="memit"))
    assert same.returncode == 0, same.stderr  # the configuration is the same, so nothing is to do
    (home / "alien.json").write_text(json.dumps({**recipe, "statistics_digest": "0" * 64}))
    alien = alone(*command(home, "alien", "--recipe", str(home / "alien.json"), *short))
    assert alien.returncode == 1
    assert "the recipe is for statistics 0000000000000000" in alien.stderr


def test_results_of_several_folders_make_one_document(
    home: Path, alone: Run, uninterrupted: list[dict[str, Any]]
) -> None:
    assert uninterrupted
    out = home / "docs" / "results.md"
    done = alone("bench-report", str(home / "whole"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "## whole" in out.read_text()
    assert (out.parent / "results" / "whole-weights.png").exists()


def test_wrong_names_are_refused_before_the_model_is_loaded(home: Path, alone: Run) -> None:
    done = alone(*command(home, "none", "--model", "absent", methods="memit,memitt"))
    assert done.returncode == 1
    assert "'memitt' is unknown; choose one of " in done.stderr
    done = alone(*command(home, "none", "--model", "absent", "--edits", "21"))
    assert "21 edits are asked for, but the data hold 20 usable records" in done.stderr
    assert not (home / "none").exists()
