"""Putting aside the files that a crash, or a commit that never came, left behind."""

from collections.abc import Set
from datetime import date, timedelta

from app.database.database import Database
from app.kit.logs import get_logger
from app.ledger.artefacts import ArtefactStore
from app.ledger.containment import require_contained
from app.ledger.mark import Marks
from app.operations import revisions
from app.resident.snapshots import Snapshots

_KEPT = timedelta(days=30)
_log = get_logger(__name__)


def sweep(
    database: Database, artefacts: ArtefactStore, snapshots: Snapshots, marks: Marks, today: date
) -> None:
    """Put aside artefacts that nothing in the database names; remove snapshots, which are a cache.

    An artefact is stored before the commit that names it, so call this only while nobody else can
    commit: at the start of the one writer, before it executes anything. After a month an orphan
    is removed, unless an older database was ever accepted here: then it may be of the history
    that was lost, and stays.

    Raises:
        SetBack: The database lacks what was committed here.
    """
    with database.read() as session:
        require_contained(session, marks.newest())
        named = revisions.artefacts(session)
    artefacts.remove_partial()
    if _is_of_another(artefacts, named):
        _log.warning("sweep_skipped", folder=str(artefacts.folder))
        return
    aside = artefacts.set_aside_all_but(named, today)
    removed = snapshots.tidy()
    if not marks.was_begun_anew:
        removed += artefacts.remove_orphans(named, before=today - _KEPT)
    if aside or removed:
        _log.info("orphans_put_aside", artefacts=aside, removed=removed)


def _is_of_another(artefacts: ArtefactStore, named: Set[str]) -> bool:
    """Whether a folder holds nothing but what this database does not know."""
    found = artefacts.digests()
    return bool(found) and not found & named
