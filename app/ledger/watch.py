"""Keeps the ledger from growing where it lacks what was there before."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.database.tables.ledger import EntryKind
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.ledger import repository
from app.ledger.chain import GENESIS
from app.ledger.containment import newest_in, require_contained
from app.ledger.mark import Mark, Marks
from app.ledger.setback import accepts

#: committed so often that a power cut may take their mark back; the next of another kind sets it
_FREQUENT = frozenset({EntryKind.OPERATION.value, EntryKind.VERDICT.value})
_MARK = "mark_after_commit"
_log = get_logger(__name__)

Announce = Callable[[Mark], None]
"""``announce(mark)``: tell the outside how far the ledger is; never fails."""


class Watch:
    """The guard of one process's commits.

    Args:
        marks: The mark that a commit must contain, and moves.
        announce: Told of marks that are on disk.
    """

    def __init__(self, marks: Marks, announce: Announce) -> None:
        self._marks, self._announce = marks, announce

    def check(self, session: Session) -> None:
        """Refuse to add to a ledger that lacks the mark's entry.

        Raises:
            SetBack: It does.
        """
        appended = repository.appended(session)
        if not appended:
            return
        known, first, last = self._marks.newest(), appended[0], appended[-1]
        if known is not None and first.prev_hash == known.hash:
            origin = known.origin  # as nearly always: it goes on where this process was
        else:
            if known is None or not accepts(first, known):
                require_contained(session, known)
            origin = first.hash if first.index == 0 else repository.hash_at(session, 0) or GENESIS
        session.info[_MARK] = Mark(last.index + 1, last.hash, origin)

    def committed(self, session: Session) -> None:
        """Move the mark; where the disk does not take it, the one before holds."""
        mark: Mark | None = session.info.get(_MARK)
        if mark is None:
            return
        kinds = {entry.kind for entry in repository.appended(session)}
        durably = not kinds <= _FREQUENT
        if durably:
            failpoint(Failpoint.UNMARKED)
        try:
            if EntryKind.SETBACK.value in kinds:
                self._marks.begin_anew(mark)
            else:
                self._marks.move(mark, durably=durably)
        except OSError as error:
            _log.warning("mark_not_moved", size=mark.size, error=str(error))
            return
        if durably:
            self._announce(mark)

    def catch_up(self, session: Session) -> None:
        """Set the mark to the newest entry there is; the ledger contains the one before."""
        newest = newest_in(session)
        if newest is not None:
            self._marks.move(newest, durably=True)
            self._marks.shorten()
            self._announce(newest)
