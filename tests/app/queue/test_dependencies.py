"""What is installed is pinned by version and digest, and no more than pyproject.toml allows."""

import platform
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.queue import server_binary

_REPOSITORY = Path(__file__).parents[3]
_PROJECT = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())
_LOCKED = re.compile(r"([\w.-]+)==(\S+)(?: ; [^\\]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def _locked(name: str) -> dict[str, str]:
    """Version by package; fails on a line that is not a pinned version with digests."""
    text = "".join(
        line
        for line in (_REPOSITORY / name).read_text().splitlines(keepends=True)
        if not line.startswith("#")
    )
    assert _LOCKED.sub("", text) == ""
    return {canonicalize_name(found[1]): found[2] for found in _LOCKED.finditer(text)}


def _asked_for() -> Iterator[Requirement]:
    project = _PROJECT["project"]
    groups = (*project["optional-dependencies"].values(), *_PROJECT["dependency-groups"].values())
    for group in (project["dependencies"], *groups, _PROJECT["build-system"]["requires"]):
        yield from map(Requirement, group)


def test_every_requirement_is_locked_to_a_version_that_it_allows() -> None:
    locked = _locked("constraints.txt")
    for requirement in _asked_for():
        if requirement.name != "errata":
            assert locked[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_client_is_locked() -> None:
    locked = _locked("tests/clients/requirements.txt")
    asked = (_REPOSITORY / "tests/clients/requirements.in").read_text().splitlines()
    for requirement in (Requirement(line) for line in asked if not line.startswith("#")):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_without_cuda_is_the_version_of_torch() -> None:
    torch = _locked("constraints.txt")["torch"]
    assert _locked("torch-cpu.txt") == {"torch": f"{torch}+cpu"}


def test_what_runs_here_is_what_is_locked() -> None:
    locked = _locked("constraints.txt")
    for requirement in map(Requirement, _PROJECT["project"]["dependencies"]):
        version = distribution(requirement.name).version.partition("+")[0]
        assert version == locked[canonicalize_name(requirement.name)]


def test_the_server_in_the_locked_wheel_is_one_that_may_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    kind = f"{platform.system()}-{platform.machine()}".lower()
    assert server_binary.find_server().path.parent.name == kind
