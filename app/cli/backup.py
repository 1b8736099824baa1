"""A copy of everything that cannot be computed again, taken while the service runs."""

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pysqlite3
from sqlalchemy import make_url

from app.database.copying import copy_sqlite
from app.database.database import Database
from app.errors import WrongState
from app.kit.permissions import make_private
from app.ledger.artefacts import ArtefactStore
from app.ledger.mark import NAME as MARK
from app.ledger.mark import Mark, Marks
from app.operations import revisions
from app.settings import Settings

_DATABASE = "errata.db"
_ARTEFACTS = "artefacts"
# What decides how the next edit is computed, and the evidence for it; each may be absent.
_CALIBRATION = ("recipe.json", "calibration.txt", "calibration.json")
_RECIPES = "recipes"


@dataclass(frozen=True)
class Backup:
    """What was copied.

    Attributes:
        database: Whether the database is part of it; one on PostgreSQL is dumped by its own tool.
        artefacts: How many artefacts there are, each with the digest it is named after.
    """

    database: bool
    artefacts: int


def back_up(settings: Settings, folder: Path) -> Backup:
    """Copy the data directory as it is at one moment to a new or empty folder.

    The database comes first and the artefacts second: an artefact is stored before the commit that
    names it and never changes, so whatever the copied database names is there to be copied. The
    mark is that of the copied database, not of the one that goes on. The database gets its name
    last; a folder without one is a backup that was interrupted.

    Raises:
        WrongState: The folder is in use.
        CorruptArtefact: An artefact that a committed edit needs is missing or was altered.
        DatabaseUnavailable: The database cannot be read.
        OSError: The disk did not take the copy.
    """
    if any(
        (folder / name).exists() for name in (_DATABASE, _ARTEFACTS, MARK, _RECIPES, *_CALIBRATION)
    ):
        raise WrongState(f"{folder} holds a backup or a data directory; name an empty folder")
    make_private(folder)
    url = make_url(settings.database_url)
    partial = folder / f"{_DATABASE}.partial"
    if url.get_backend_name() == "sqlite":
        copy_sqlite(Path(url.database or ""), partial)
        _write_mark(partial, Marks(folder))
    copied = _copy_artefacts(settings, ArtefactStore(folder / _ARTEFACTS))
    for name in _CALIBRATION:
        if (settings.data_dir / name).exists():
            shutil.copyfile(settings.data_dir / name, folder / name)
    if (settings.data_dir / _RECIPES).exists():
        shutil.copytree(settings.data_dir / _RECIPES, folder / _RECIPES)
    if partial.exists():
        partial.replace(folder / _DATABASE)
    return Backup((folder / _DATABASE).exists(), copied)


def _write_mark(copied: Path, marks: Marks) -> None:
    # By the bare driver: the service's connections would change how the copy is journalled.
    query = 'SELECT "index" + 1, hash FROM ledger_entries ORDER BY "index"'
    with closing(pysqlite3.connect(copied)) as connection:
        first = connection.execute(f"{query} LIMIT 1").fetchone()
        last = connection.execute(f"{query} DESC LIMIT 1").fetchone()
    if first is not None:
        marks.begin_anew(Mark(last[0], last[1], first[1]))


def _copy_artefacts(settings: Settings, target: ArtefactStore) -> int:
    source = ArtefactStore(settings.data_dir / _ARTEFACTS)
    database = Database(settings.database_url)
    try:
        with database.read() as session:
            named = revisions.artefacts(session)
    finally:
        database.close()
    for digest in sorted(named):
        target.put(source.read(digest))
    return len(named)
