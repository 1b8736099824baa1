"""Exports opened by other versions of transformers and PEFT, each in an environment of its own.

`make readers` makes the environments and runs this.
"""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from app.database.tables.exports import ExportFormat
from app.exports.manifest import READERS
from editing_core.model.loading import LoadedModel
from tests.readers.cases import CASES, DEMO, Answers, write_case, write_demo, write_questions

pytestmark = pytest.mark.readers

_HERE = Path(__file__).parent
#: The environment that runs the tests is the newest reader.
_NEWEST = "newest"
_ENVIRONMENTS = (_NEWEST, *sorted(path.stem for path in _HERE.glob("*.txt")))
_UNKNOWN = {"transformers-4.44": {"qwen3"}}  # families younger than the reader
_NO_ADAPTERS = {"transformers-4.44"}  # PEFT of today is made for later ones
_NO_WHEEL = {"transformers-4.44": (3, 13)}  # its tokenizers has no wheel from this Python on
_TOLERANCE = 1e-4  # as docs/exports.md has it


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, demo_model: LoadedModel, cache_dir: Path
) -> tuple[Path, dict[str, Answers]]:
    """A folder of exports, and what a reader is to say of each."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("readers") / "exports"
    folder.mkdir()
    expected = {name: write_case(folder, name) for name in CASES}
    (converted,) = (cache_dir / "models").glob("SmolLM2-135M-Instruct.Q4_1-*[!.]")
    expected[DEMO] = write_demo(folder, demo_model, converted)
    write_questions(folder)
    return folder, expected


@cache
def _told(environment: str, folder: Path) -> dict[str, Any]:
    """What a reader answers; it runs once for all cases."""
    oldest = _NO_WHEEL.get(environment, (99,))
    if sys.version_info[:2] >= oldest:
        pytest.skip(f"{environment} has no wheels for this Python")
    python = Path(sys.executable)
    if environment != _NEWEST:
        python = Path(os.environ["READERS"]) / environment / "bin" / "python"
    adapters = [] if environment in _NO_ADAPTERS else ["--adapters"]
    command = [str(python), str(_HERE / "reading.py"), str(folder), *adapters]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [*CASES, DEMO])
@pytest.mark.parametrize("environment", _ENVIRONMENTS)
def test_an_export_answers_elsewhere_as_it_does_here(
    exported: tuple[Path, dict[str, Answers]], environment: str, name: str
) -> None:
    folder, expected = exported
    found, wanted = _told(environment, folder)["answers"][name], expected[name]
    if name in _UNKNOWN.get(environment, ()):
        assert f"model type `{name}`" in found["refused"]
        return
    for field in ("ids", "decoded", "chat", "special", "written", "dtype"):
        assert found[field] == getattr(wanted, field), field
    assert found["base_ids"] == wanted.ids
    assert _near(found["logits"], wanted)
    if environment not in _NO_ADAPTERS and wanted.dtype == "torch.float32":
        assert _near(found["adapted"], wanted)


def _near(logits: list[float], wanted: Answers) -> bool:
    return torch.allclose(torch.tensor(logits), wanted.logits, rtol=0, atol=_TOLERANCE)


def test_an_export_names_the_readers_that_it_is_tested_with(
    exported: tuple[Path, dict[str, Answers]],
) -> None:
    folder, _ = exported
    told = {name: _told(name, folder)["versions"] for name in _ENVIRONMENTS}
    named = READERS[ExportFormat.MERGED]
    assert {versions["transformers"] for versions in told.values()} == set(named["transformers"])
    told = {name: versions for name, versions in told.items() if name not in _NO_ADAPTERS}
    for package, versions in READERS[ExportFormat.LORA].items():
        assert {found[package] for found in told.values()} == set(versions)
    assert READERS[ExportFormat.DELTA] == {"safetensors": [version("safetensors")]}
