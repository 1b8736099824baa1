"""Installations with a little history, copied for each test that ends a process in them."""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.settings import Settings
from tests.acceptance.server import calibrate_quickly
from tests.crash.child import started
from tests.support.open_gates import OPEN_LIMITS
from tests.support.tiny import build_tiny_model

SUBJECTS = ("France", "Italy")  # of the edits that are live before a test begins
_WAIT_S = 60.0


@dataclass(frozen=True)
class Installation:
    """A service's settings and where its log goes."""

    settings: Settings

    @property
    def log(self) -> Path:
        """What its processes say."""
        return self.settings.data_dir.with_suffix(".log")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("crash") / "tiny")


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path
) -> Settings:
    """An installation that was stopped after two edits of one revision each."""
    data = tmp_path_factory.mktemp(request.param) / "data"
    calibrate_quickly(data)
    url = f"sqlite:///{data / 'errata.db'}"
    if request.param == "postgres":
        url = _new_database(request.getfixturevalue("postgres_server"), template="template1")
    settings = Settings(
        model=str(tiny_folder),
        data_dir=data,
        cache_dir=data / "cache",
        database_url=url,
        lease_s=5,
        **{f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()},
    )
    with started(settings, data.with_suffix(".log")) as child:
        child.await_ready()
        for subject in SUBJECTS:
            sent = child.errata.submit(subject, "The capital of {} is", "Rome", force=True)
            assert child.errata.wait(sent.id, _WAIT_S).status == "committed"
    return settings


@pytest.fixture
def installation(
    request: pytest.FixtureRequest, template: Settings, tmp_path: Path
) -> Iterator[Installation]:
    """The template's copy, with a database of its own."""
    data = tmp_path / "data"
    shutil.copytree(template.data_dir, data, ignore=shutil.ignore_patterns("run", "cache"))
    if template.database_url.startswith("sqlite"):
        yield Installation(_moved(template, data, f"sqlite:///{data / 'errata.db'}"))
        return
    server = request.getfixturevalue("postgres_server")
    url = _new_database(server, template=_name(template.database_url))
    yield Installation(_moved(template, data, url))
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {_name(url)} WITH (FORCE)")


def _moved(settings: Settings, data: Path, url: str) -> Settings:
    return settings.model_copy(update={"data_dir": data, "database_url": url})


def _new_database(server: Any, *, template: str) -> str:
    """URL of a new database, as a copy of one that nobody is connected to."""
    name = f"errata_{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    head, _, options = str(server.get_uri()).partition("?")
    url = f"{head.rpartition('/')[0]}/{name}?{options}"
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
