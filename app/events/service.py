"""Reading events in pages, and where a stream of them may begin."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.database.database import Database
from app.edits import repository as edits
from app.edits.models import EditStatus
from app.errors import InvalidField
from app.events import repository
from app.events.schemas import EventResource

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


def start(database: Database, last_event: int | None) -> int:
    """The number after which a stream of all events begins: the newest, unless one was seen.

    Raises:
        InvalidField: `last_event` is of another database.
    """
    with database.read() as session:
        newest = _checked(session, last_event)
    return newest if last_event is None else last_event


def start_of_edit(database: Database, edit_id: str, last_event: int | None) -> int | None:
    """The number after which the stream of an edit begins; None if nothing will come any more.

    Raises:
        UnknownEdit: There is no such edit.
        InvalidField: `last_event` is of another database.
    """
    with database.read() as session:
        edit = edits.get(session, edit_id)
        _checked(session, last_event)
        begin = last_event or 0
        if edit.status in _UNFINISHED or repository.after(session, begin, limit=1, edit_id=edit_id):
            return begin
        return None


def _checked(session: Session, last_event: int | None) -> int:
    newest = repository.newest(session)
    if last_event is not None and last_event > newest:
        raise InvalidField(
            "Last-Event-ID",
            f"there is no event {last_event} yet, the newest is {newest}; leave it out",
        )
    return newest
