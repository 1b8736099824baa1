import json
from pathlib import Path

from tests.acceptance.cli.conftest import Run
from tests.tiny import build_tiny_model

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
