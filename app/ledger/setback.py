"""Databases that lack what was committed: how one is found, refused, and accepted all the same."""

import json
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.ledger import EntryKind
from app.errors import SetBack
from app.ledger import repository, service
from app.ledger.chain import GENESIS, Link
from app.ledger.mark import Mark

_SHOWN_DIGITS = 12


def refusal(place: str, lost: Mark, found: Mark | None) -> SetBack:
    """Why a start is refused, and what to do.

    Args:
        place: The file that holds the mark.
        lost: The mark.
        found: The newest entry of the database.
    """
    shown = GENESIS if found is None else found.hash
    return SetBack(
        f"the database {_told(lost, found)}, but entry {lost.size - 1} "
        f"({lost.hash[:_SHOWN_DIGITS]}…) was committed here, as {place} tells. Put the newest "
        "database back, or give this one a data directory of its own. If what came after is lost "
        f"for good, start once with --accept-older-database {shown[:_SHOWN_DIGITS]}: the ledger "
        "will tell of it, and what the lost entries name is kept"
    )


def is_accepted(found: Mark | None, accepted: str | None) -> bool:
    """Whether the operator names the newest entry of this database as the one to go on from."""
    newest = GENESIS if found is None else found.hash
    return accepted is not None and newest.startswith(accepted)


def accept(session: Session, lost: Mark, found: Mark | None, *, actor: str, now: datetime) -> None:
    """Say in the ledger that it goes on from an older state.

    Args:
        session: A write transaction.
        lost: The mark that the database does not contain.
        found: The newest entry that it has.
        actor: Who accepts that.
        now: When.
    """
    kept = None if found is None else found.to_json()
    service.append(
        session, EntryKind.SETBACK, {"lost": lost.to_json(), "kept": kept}, actor=actor, now=now
    )


def accepts(entry: Link, mark: Mark) -> bool:
    """Whether an entry tells that what a mark stands for is lost."""
    return entry.kind == EntryKind.SETBACK and json.loads(entry.payload)["lost"] == mark.to_json()


def was_accepted(session: Session, mark: Mark) -> bool:
    """Whether the ledger tells so: then only the mark has not been set anew."""
    told = repository.of_kind(session, EntryKind.SETBACK)
    return any(json.loads(entry.payload)["lost"] == mark.to_json() for entry in told)


def _told(lost: Mark, found: Mark | None) -> str:
    if found is None:
        return "has no ledger entry at all"
    newest = f"entry {found.size - 1} ({found.hash[:_SHOWN_DIGITS]}…)"
    if lost.origin not in (found.origin, GENESIS):
        return f"is that of another ledger, whose newest is {newest}"
    return f"ends at {newest}" if found.size < lost.size else f"took another way to {newest}"
