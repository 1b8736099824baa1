"""Removing the files that a crash, or a commit that never came, left behind."""

from collections.abc import Set
from pathlib import Path

from sqlalchemy.orm import Session

from app.database.database import Database
from app.ledger import repository as ledger
from app.observability.logs import get_logger
from app.resident.snapshots import Snapshots
from app.revisions import repository as revisions
from app.revisions.artefacts import ArtefactStore

_log = get_logger(__name__)


def sweep(database: Database, artefacts: ArtefactStore, snapshots: Snapshots) -> None:
    """Remove artefacts and snapshots that nothing in the database refers to.

    An artefact is stored before the commit that names it, so call this only while nobody else can
    commit: at the start of the one writer, before it executes anything. Where another database, or
    a later state of this one, has edited into the folder, its files are somebody's and stay.
    """
    note = artefacts.folder.with_suffix(".ledger")
    with database.read() as session:
        named = revisions.artefacts(session)
        newest = ledger.last(session)
        is_ours = _is_known(session, note) if note.exists() else _is_ours(artefacts, named)
    if not is_ours:
        # The folder belongs to another database, or to a later state of this one; the note may be
        # removed if nobody needs that any more.
        _log.warning("sweep_skipped", folder=str(artefacts.folder), note=str(note))
        return
    removed = artefacts.sweep(named) + snapshots.tidy()
    if newest is not None:
        _write(note, f"{newest.index} {newest.hash}")
    if removed:
        _log.info("orphans_removed", files=removed)


def _write(note: Path, text: str) -> None:
    partial = note.with_suffix(".partial")
    try:
        partial.write_text(text)
        partial.replace(note)
    except OSError as error:  # the older note will do, and a full disk keeps nobody from starting
        _log.warning("sweep_not_noted", error=str(error))


def _is_known(session: Session, note: Path) -> bool:
    """Whether the ledger holds the entry that was its newest when the folder was last swept."""
    index, _, recorded = note.read_text().partition(" ")
    entry = ledger.find(session, int(index)) if index.isdecimal() else None
    return entry is not None and entry.hash == recorded


def _is_ours(artefacts: ArtefactStore, named: Set[str]) -> bool:
    """Whether a folder that was never swept is new, or holds something this database made."""
    found = artefacts.digests()
    return not found or bool(found & named)
