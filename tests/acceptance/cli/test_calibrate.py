import json
from pathlib import Path

from app.resident.recipes import read_recipe
from tests.acceptance.cli.conftest import Run
from tests.acceptance.server import client, running
from tests.support.tiny import build_tiny_model

TEXT = "The mother tongue of Danielle Darrieux is French, and the capital of Italy is Rome. " * 200


def test_another_text_gives_another_recipe_and_the_same_text_the_same(
    alone: Run, tmp_path: Path
) -> None:
    model = str(build_tiny_model(tmp_path / "tiny"))
    text = tmp_path / "own.txt"

    def recipe(words: str) -> dict[str, object]:
        text.write_text(words, encoding="utf-8")
        done = alone(
            "calibrate", "--text", str(text), "--json", ERRATA_MODEL=model,
            ERRATA_DATA_DIR=str(tmp_path / "data"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, object] = json.loads(done.stdout)
        return told

    first = recipe(TEXT)
    assert recipe(TEXT) == first
    assert recipe(TEXT.upper())["statistics_digest"] != first["statistics_digest"]


def test_it_leaves_its_evidence_and_the_next_start_edits_by_its_recipe(
    alone: Run, tmp_path: Path
) -> None:
    model, data = str(build_tiny_model(tmp_path / "tiny", layers=6)), tmp_path / "data"
    text = tmp_path / "own.txt"
    text.write_text(TEXT, encoding="utf-8")
    done = alone(
        "calibrate", "--text", str(text), "--layers", "2-3", "--facts", "3", "--no-chat",
        "--model", model, "--data-dir", str(data),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "layers 2, 3" in done.stdout
    recipe = (data / "recipe.json").read_text()
    told = json.loads((data / "calibration.json").read_text())
    assert json.loads(recipe) == {"recipe": told["recipe"]}
    assert read_recipe(data / "recipe.json").digest == told["recipe"]
    assert (data / "calibration.txt").read_text() == TEXT
    assert {trial["method"] for trial in told["chosen"]} == {"alphaedit+sphere", "memit+sphere"}
    before = {path.name for path in (data / "cache" / "statistics").iterdir()}
    with running(data, model) as server, client(server) as errata:
        edit = errata.wait(errata.submit("Rome", "The capital {} is in", "Spain", force=True).id)
        assert edit.status == "committed"
        assert edit.report is not None
        assert [layer["layer"] for layer in edit.report["layers"]] == [2, 3]
    assert (data / "recipe.json").read_text() == recipe
    assert {path.name for path in (data / "cache" / "statistics").iterdir()} == before


def test_layers_that_cannot_be_edited_are_refused(alone: Run, tmp_path: Path) -> None:
    model, data = str(build_tiny_model(tmp_path / "tiny")), str(tmp_path / "data")
    done = alone("calibrate", "--layers", "2-3", "--model", model, "--data-dir", data)
    assert done.returncode == 1
    assert "layer 3 cannot be edited: tiny has 4 blocks, of which 0 to 2 may be" in done.stderr
    done = alone("calibrate", "--layers", "four", "--model", model)
    assert done.returncode == 2
    assert "'four'" in done.stderr


def test_a_file_that_is_not_text_is_named(alone: Run, tmp_path: Path) -> None:
    file = tmp_path / "noise.bin"
    file.write_bytes(b"\xff\xfe\xfa")
    done = alone("calibrate", "--text", str(file))
    assert done.returncode == 2
    assert "noise.bin" in done.stderr
    assert alone("calibrate", "--text", str(tmp_path / "absent.txt")).returncode == 2


def test_an_empty_text_is_refused_with_the_reason(alone: Run, tmp_path: Path) -> None:
    model = str(build_tiny_model(tmp_path / "tiny"))
    text = tmp_path / "empty.txt"
    text.write_text("")
    done = alone("calibrate", "--text", str(text), "--model", model)
    assert done.returncode == 1
    assert "no tokens" in done.stderr
