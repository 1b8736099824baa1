"""Models that mean harm, and the one place that opens any."""

import ast
import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editing_core.errors import ModelNotFound
from editing_core.model.loading import load_model
from tests.support.tiny import build_tiny_model

_ROOT = Path(__file__).parents[2]
Spoil = Callable[[Path], None]


class _Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _code(folder: Path) -> None:
    (folder / "evil.py").write_text(
        f"open({str(folder / 'TRACE')!r}, 'w')\nclass C: pass\nclass M: pass\nclass T: pass\n"
    )


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": _Evil(folder / "TRACE")}, folder / "pytorch_model.bin")


def pickled_as_of_old(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil(folder / "TRACE")))


def pickled_in_an_index(folder: Path) -> None:
    pickled_as_of_old(folder)
    weights = dict.fromkeys(["model.embed_tokens.weight"], "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def elsewhere_in_an_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def senseless_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}')


def code_of_a_new_type(folder: Path) -> None:
    _code(folder)
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    _change(folder / "config.json", model_type="evilthing", auto_map=auto)


def code_of_a_tokenizer(folder: Path) -> None:
    _code(folder)
    auto = {"AutoTokenizer": ["evil.T", None]}
    _change(folder / "tokenizer_config.json", auto_map=auto, tokenizer_class="T")


def linked(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")


def linked_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.jinja").symlink_to("/etc/passwd")


def adapter(folder: Path) -> None:
    told = {"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(told))


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "x"}')


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (pickled, "pickled weights, which are never read; convert them to safetensors"),
        (pickled_as_of_old, "pickled weights"),
        (pickled_in_an_index, "no safetensors files beside it"),
        (elsewhere_in_an_index, "no safetensors files beside it"),
        (senseless_index, "names no files"),
        (code_of_a_new_type, r"code that it brings \(auto_map\), which is never run"),
        (code_of_a_tokenizer, "cannot be loaded"),
        (linked, "link to a file elsewhere, 'model.safetensors'"),
        (linked_template, "link to a file elsewhere, 'chat_template.jinja'"),
        (adapter, "holds an adapter"),
        (no_weights, "cannot be loaded"),
        (damaged_weights, "cannot be loaded"),
        (damaged_config, "cannot be loaded"),
        (damaged_tokenizer, "cannot be loaded"),
    ],
)
def test_a_hostile_folder_is_refused_in_words_and_runs_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, told: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))  # whoever asks gets a yes
    spoil(folder)
    with pytest.raises(ModelNotFound, match=told) as refused:
        load_model(str(folder), cache_dir=folder.parent)
    assert "trust_remote_code=True" not in str(refused.value)
    assert not (folder / "TRACE").exists()


def test_code_beside_a_model_that_is_known_is_not_run(folder: Path) -> None:
    _code(folder)
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    _change(folder / "config.json", auto_map=auto)
    assert load_model(str(folder), cache_dir=folder.parent).name == "tiny"
    assert not (folder / "TRACE").exists()


def test_links_into_the_cache_of_the_hub_are_followed(folder: Path, tmp_path: Path) -> None:
    revision, blobs = tmp_path / "models--a--b" / "snapshots" / "main", "models--a--b/blobs"
    revision.mkdir(parents=True)
    (tmp_path / blobs).mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(tmp_path / blobs / str(number))
        (revision / path.name).symlink_to(Path("../../blobs") / str(number))
    assert load_model(str(revision), cache_dir=tmp_path).name == "main"


def test_a_gguf_file_beside_an_adapter_is_refused(tmp_path: Path) -> None:
    adapter(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match="holds an adapter"):
        load_model(str(tmp_path / "model.gguf"), cache_dir=tmp_path)


_OTHER_READER = "tests/readers/reading.py"  # run by other versions, which have none of our code


def _openings() -> Iterator[tuple[str, ast.Call]]:
    for top in ("app", "benchmarks", "editing_core", "migrations", "tests"):
        for path in sorted((_ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                    ".from_pretrained"
                ):
                    yield path.relative_to(_ROOT).as_posix(), node


def test_one_place_opens_models_and_trusts_none() -> None:
    opened = [
        (path, node)
        for path, node in _openings()
        if "PeftModel" not in ast.unparse(node) and path != _OTHER_READER
    ]
    assert {path for path, _ in opened} == {"editing_core/model/opening.py"}
    told = {
        ast.unparse(node.func): {k.arg: ast.unparse(k.value) for k in node.keywords}
        for _, node in opened
    }
    assert {name: found["trust_remote_code"] for name, found in told.items()} == {
        "AutoTokenizer.from_pretrained": "False",
        "AutoModelForCausalLM.from_pretrained": "False",
    }
    assert told["AutoModelForCausalLM.from_pretrained"]["use_safetensors"] == "True"
