"""Reading events in pages, and where a stream of them may begin."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.tables.edits import EditStatus
from app.errors import InvalidField
from app.events.schemas import EventResource
from app.operations import edits
from app.operations import events as repository

_PAGE = 200
_UNFINISHED = (EditStatus.ACCEPTED, EditStatus.RUNNING)


@dataclass(frozen=True)
class Page:
    """What came after some event.

    Attributes:
        events: Events in order; none is left out.
        upto: Number up to which this tells everything.
        is_last: Whether nothing newer was there.
    """

    events: tuple[EventResource, ...]
    upto: int
    is_last: bool

    @property
    def ends(self) -> bool:
        """Whether the edit that all of it is about has ended."""
        return self.is_last and bool(self.events) and self.events[-1].status not in _UNFINISHED


def newest(database: Database) -> int:
    """Number of the last event; 0 without any."""
    with database.read() as session:
        return repository.newest(session)


def read(database: Database, after: int, edit_id: str | None = None) -> Page:
    """What came after an event, of one edit or of all."""
    with database.read() as session:
        found = repository.after(session, after, limit=_PAGE, edit_id=edit_id)
        events = tuple(EventResource.of(event) for event in found)
        if len(events) == _PAGE:
            return Page(events, events[-1].number, is_last=False)
        return Page(events, repository.newest(session), is_last=True)


@dataclass(frozen=True)
class Seen:
    """Up to where a client knows all events.

    Attributes:
        number: The newest event that it saw; None if it names none.
        field: Where the request says so.
    """

    number: int | None
    field: str


def start(database: Database, seen: Seen) -> int:
    """The number after which a stream of all events begins: the newest, unless one was seen.

    Raises:
        InvalidField: The event that was seen is of another database.
    """
    with database.read() as session:
        newest = _checked(session, seen)
    return newest if seen.number is None else seen.number


def start_of_edit(database: Database, edit_id: str, seen: Seen) -> int | None:
    """The number after which the stream of an edit begins; None if nothing will come any more.

    Raises:
        UnknownEdit: There is no such edit.
        InvalidField: The event that was seen is of another database.
    """
    with database.read() as session:
        edit = edits.get(session, edit_id)
        _checked(session, seen)
        begin = seen.number or 0
        if edit.status in _UNFINISHED or repository.after(session, begin, limit=1, edit_id=edit_id):
            return begin
        return None


def _checked(session: Session, seen: Seen) -> int:
    newest = repository.newest(session)
    if seen.number is not None and seen.number > newest:
        raise InvalidField(
            seen.field,
            f"there is no event {seen.number} yet, the newest is {newest}; leave it out",
        )
    return newest
