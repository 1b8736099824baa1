"""Opening the database of a data directory: not one that lacks what was committed there."""

from app.database.database import Database
from app.database.migration import upgrade
from app.kit.clock import Clock
from app.kit.data_directory import guard_data_dir
from app.ledger.announcing import Announcer
from app.ledger.containment import contains, newest_in
from app.ledger.mark import Mark, Marks
from app.ledger.setback import accept, is_accepted, refusal, was_accepted
from app.ledger.watch import Watch
from app.settings import Settings

# Who may start the service on the data directory; the ledger knows no more of them.
_ACTOR = "cli"


def open_database(settings: Settings, clock: Clock) -> Database:
    """The database of these settings, with the newest schema; the caller closes it.

    It is looked at before anything is written to it. A data directory without a mark believes the
    database it is opened with first.

    Raises:
        SetBack: It lacks an entry that was committed here, and that was not accepted.
        ForeignFolder: The data directory belongs to somebody else.
        UnusableMark: The mark that would tell is damaged.
        DatabaseUnavailable: It cannot be reached.
    """
    guard_data_dir(settings.data_dir)
    marks = Marks(settings.data_dir)
    watch = Watch(marks, Announcer(settings.data_dir, settings.checkpoint_file, clock))
    database = Database(settings.database_url, watch)
    try:
        lost = _lost(database, marks)
        if lost is not None:
            with database.read() as session:
                found = newest_in(session)
            if not is_accepted(found, settings.accept_older_database):
                raise refusal(str(marks.path), lost, found)
        upgrade(database)
        if lost is not None:
            with database.write() as session:
                accept(session, lost, found, actor=_ACTOR, now=clock())
        with database.read() as session:
            watch.catch_up(session)
    except BaseException:
        database.close()
        raise
    return database


def _lost(database: Database, marks: Marks) -> Mark | None:
    """The mark that the database does not contain, unless its ledger tells of that."""
    known = marks.newest()
    if known is None:
        return None
    with database.read() as session:
        newest = newest_in(session)
        if newest is not None:
            if contains(session, known):
                return None
            if was_accepted(session, known):
                marks.begin_anew(newest)
                return None
    return known
