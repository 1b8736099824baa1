"""What must happen in one place only: read off the source, so that nobody need remember."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import app
from app.kit.failpoints import ExportFailpoint, Failpoint

_SOURCE = Path(app.__file__).parent


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Module, name of what is called, and the call, for every call in the service."""
    for path in sorted(_SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(_SOURCE).as_posix(), ast.unparse(node.func), node


def _modules_that_call(name: str) -> list[str]:
    return [module for module, called, _ in _calls() if called.split(".")[-1] == name]


def test_one_module_begins_and_commits_transactions() -> None:
    assert set(_modules_that_call("begin")) == {"database/database.py"}
    assert _modules_that_call("commit") == []
    sessions = [module for module, called, _ in _calls() if called.endswith("Session")]
    assert sessions == ["database/database.py"] * 2  # to write, and to read


def test_one_function_publishes_a_view_and_one_commits_a_revision() -> None:
    assert _modules_that_call("publish") == ["worker/commits.py"]
    assert _modules_that_call("commit_revision") == ["worker/commits.py"]


def test_the_worker_writes_with_its_lease_only() -> None:
    written = {module for module, called, _ in _calls() if called.endswith("database.write")}
    assert {module for module in written if module.startswith("worker/")} == {
        "worker/lease.py",
        "worker/base.py",  # the base, which is the same whoever records it
    }


def test_every_failpoint_lies_in_one_place() -> None:
    passed = Counter(
        ast.unparse(call.args[0]) for _, called, call in _calls() if called == "failpoint"
    )
    every = (*Failpoint, *ExportFailpoint)
    assert passed == {f"{type(point).__name__}.{point.name}": 1 for point in every}


def test_one_module_prints() -> None:
    """So that everything that people see on a terminal passes `printable`."""
    for name in ("echo", "secho", "print", "print_json"):
        assert set(_modules_that_call(name)) <= {"cli/display.py"}, name
    standard = [
        module
        for module, called, _ in _calls()
        if called.startswith(("sys.stdout.", "sys.stderr.")) and not called.endswith(".flush")
    ]
    assert standard == []


def _modules_with(text: str) -> set[str]:
    return {
        path.relative_to(_SOURCE).parts[0]
        for path in _SOURCE.rglob("*.py")
        if text in path.read_text(encoding="utf-8")
    }


def test_tables_lie_in_one_room_and_commands_in_another() -> None:
    assert _modules_with("__tablename__ = ") == {"database"}
    assert _modules_with("import typer") == {"cli"}
