"""Removing the files that a crash, or a commit that never came, left behind."""

import logging

from app.database.database import Database
from app.ledger import repository as ledger
from app.resident.snapshots import Snapshots
from app.revisions import repository as revisions
from app.revisions.artefacts import ArtefactStore

_log = logging.getLogger(__name__)


def sweep(database: Database, artefacts: ArtefactStore, snapshots: Snapshots) -> None:
    """Remove artefacts and snapshots that nothing in the database refers to.

    An artefact is stored before the commit that names it, so call this only while nobody else can
    commit: at the start of the one writer, before it executes anything. A folder that another
    database has edited into is left alone: its files are somebody's.
    """
    with database.read() as session:
        named = revisions.artefacts(session)
        ledger_id = ledger.get(session, 0).hash
    if not artefacts.belongs_to(ledger_id, named):
        _log.warning("sweep_skipped: the artefacts in this data directory are of another database")
        return
    removed = artefacts.sweep(named) + snapshots.tidy()
    if removed:
        _log.info("orphans_removed files=%d", removed)
