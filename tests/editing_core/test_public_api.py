"""What the package exports, and the page that shows how it is used."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import editing_core
from tests.support.tiny import build_tiny_model

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 200
_PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def _program() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def test_every_exported_name_is_found_and_no_other() -> None:
    assert editing_core.__all__ == sorted(editing_core.__all__, key=lambda n: (not n.isupper(), n))
    for name in editing_core.__all__:
        assert getattr(editing_core, name) is not None
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = editing_core.nonsense


def test_every_name_that_types_are_checked_by_is_exported() -> None:
    tree = ast.parse(Path(editing_core.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("editing_core")
        for alias in node.names
    }
    assert typed == set(editing_core.__all__)


def test_an_error_is_had_without_pytorch() -> None:
    program = "import sys; from editing_core import EditingError; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_page_edits_a_model(tmp_path: Path) -> None:
    given = {
        "MODEL": repr(str(build_tiny_model(tmp_path / "model"))),
        "CACHE": f"Path({str(tmp_path / 'cache')!r})",
        "TEXT": repr(_TEXT),
    }
    program = _program()
    for variable, value in given.items():
        line = re.compile(rf"^{variable} = .*$", re.MULTILINE)
        assert len(line.findall(program)) == 1
        program = line.sub(f"{variable} = {value}", program)
    names = dict[str, Any]()
    exec(compile(program, str(_PAGE), "exec"), names)  # noqa: S102 - our own page
    assert names["after"].p > names["before"].p
