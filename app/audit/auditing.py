"""Checks the ledger and all that hangs on it: the chain, then artefacts and rows against it.

It goes by pages and keeps no session open in between, so that it may take its time: what is
committed meanwhile is checked, too.
"""

from collections.abc import Generator, Sequence
from threading import Event

from sqlalchemy.orm import Session

from app.audit.rows.edits import check_strays
from app.audit.rows.operations import OperationRows
from app.audit.rows.reading import Told
from app.audit.rows.revisions import RevisionRows
from app.audit.rows.standing import StandingRows
from app.database.database import Database
from app.errors import ClientGone, CorruptArtefact
from app.ledger import repository
from app.ledger.artefacts import ArtefactStore
from app.ledger.chain import NOTHING, Link, Verdict, verify
from app.ledger.differing import RowDiffers
from app.ledger.prefix import StoredDigest, VerifiedPrefix
from app.ledger.records import ArtefactFlaw, artefact_of, read
from app.ledger.schemas import LedgerVerdict

_PAGE = 200

Steps = Generator[int, None, LedgerVerdict]
"""Yields after each page how many it has read so far; returns what it found."""


def audit(
    database: Database,
    artefacts: ArtefactStore,
    stop: Event | None = None,
    prefix: VerifiedPrefix | None = None,
) -> LedgerVerdict:
    """Check everything at once.

    Args:
        database: Has the ledger.
        artefacts: What it names.
        stop: Set once the result is no longer needed.
        prefix: What was verified of this chain before; it is told what is verified now.

    Raises:
        ClientGone: It was told to stop.
    """
    steps = audit_steps(database, artefacts, prefix)
    while True:
        if stop is not None and stop.is_set():
            raise ClientGone
        try:
            next(steps)
        except StopIteration as end:
            verdict: LedgerVerdict = end.value
            return verdict


def audit_steps(
    database: Database, artefacts: ArtefactStore, prefix: VerifiedPrefix | None = None
) -> Steps:
    """Check everything page by page; between two of them nothing is held."""
    done = 0
    verdict = yield from _chain(database, prefix or VerifiedPrefix())
    if not verdict.ok:
        return LedgerVerdict.of(verdict)
    audit = _Audit(database, artefacts)
    try:
        while audit.taken < verdict.entries:
            audit.take_page(verdict.entries)
            yield verdict.entries + audit.taken
        verdict = audit.take_rest(verdict)
        done = verdict.entries + audit.taken
        place: int | None = 0
        while verdict.ok and place is not None:
            place = audit.look_back(place)
            yield done + (place or 0)
    except RowDiffers as differing:
        return LedgerVerdict.of(verdict, row=differing)
    except _Flawed as flawed:
        return LedgerVerdict.of(verdict, flaw=flawed.flaw)
    return LedgerVerdict.of(verdict)


def _chain(database: Database, prefix: VerifiedPrefix) -> Generator[int, None, Verdict]:
    """Every link there is, and that the end is not cut off: what refers beyond it tells."""
    stored = yield from _stored(database, prefix.entries)
    verdict = prefix.known(stored)
    if verdict is None:  # what was altered is found from the beginning
        verdict, stored = NOTHING, StoredDigest()
    while True:
        with database.read() as session:
            page = list(repository.links(session, after=verdict.entries - 1, limit=_PAGE))
            is_last = len(page) < _PAGE
            referred = repository.newest_reference(session) if is_last else -1
        verdict = verify(page, after=verdict)
        stored.add(page)
        if verdict.ok and referred >= verdict.entries:
            return Verdict(verdict.entries, verdict.head_hash, first_bad=verdict.entries)
        if is_last or not verdict.ok:
            prefix.remember(verdict, stored)
            return verdict
        yield verdict.entries


def _stored(database: Database, entries: int) -> Generator[int, None, StoredDigest]:
    """The first so many entries as they are stored."""
    stored = StoredDigest()
    for start in range(0, entries, _PAGE):
        limit = min(_PAGE, entries - start)
        with database.read() as session:
            stored.add(repository.links(session, after=start - 1, limit=limit))
        yield start + limit
    return stored


class _Flawed(Exception):
    def __init__(self, flaw: ArtefactFlaw) -> None:
        super().__init__(flaw.digest)
        self.flaw = flaw


class _Audit:
    """What hangs on a chain that holds."""

    def __init__(self, database: Database, artefacts: ArtefactStore) -> None:
        self._database, self._artefacts = database, artefacts
        self._operations, self._revisions = OperationRows(), RevisionRows()
        self._standing = StandingRows()
        self.taken = 0

    def take_page(self, size: int) -> None:
        """The next entries, up to `size` in all."""
        limit = min(_PAGE, size - self.taken)
        with self._database.read() as session:
            page = list(repository.links(session, after=self.taken - 1, limit=limit))
            self._take(session, page)
        self._check_artefacts(page)

    def take_rest(self, verdict: Verdict) -> Verdict:
        """What was committed since, and with the last of it what stands at the end."""
        with self._database.read() as session:
            page = list(repository.links(session, after=self.taken - 1))
            found = verify(page, after=verdict)
            if found.ok:
                self._take(session, page)
                self._operations.finish()
                self._revisions.finish(session)
                self._standing.finish(session)
                check_strays(session)
        if found.ok:
            self._check_artefacts(page)
        return found

    def look_back(self, place: int) -> int | None:
        """From the next operations to their entries; where to go on, None at the end."""
        with self._database.read() as session:
            return self._operations.check_page(session, place, _PAGE)

    def _take(self, session: Session, page: Sequence[Link]) -> None:
        told = [_told(entry) for entry in page]
        self._revisions.take(session, told)
        self._operations.take(session, told)
        self._standing.take(told)
        self.taken += len(page)

    def _check_artefacts(self, page: Sequence[Link]) -> None:
        for entry in page:
            digest = artefact_of(entry)
            if digest is not None:
                try:
                    self._artefacts.check(digest)
                except CorruptArtefact as error:
                    raise _Flawed(ArtefactFlaw(entry.index, digest)) from error


def _told(entry: Link) -> Told:
    try:
        return Told(entry, read(entry))
    except ValueError as error:
        raise RowDiffers("ledger_entries", entry.index, str(error), entry.index) from error
