"""Whether a database's ledger contains a mark: what it has from before cannot be another."""

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from app.errors import SetBack
from app.ledger import repository
from app.ledger.chain import is_digest
from app.ledger.mark import Mark


def newest_in(session: Session) -> Mark | None:
    """The end of the database's ledger; None without any entry, or without one that has a hash."""
    if not inspect(session.connection()).has_table("ledger_entries"):
        return None
    ends = repository.ends(session)
    if ends is None or not all(is_digest(end.hash) for end in ends):
        return None
    first, last = ends
    return Mark(last.index + 1, last.hash, first.hash)


def contains(session: Session, mark: Mark) -> bool:
    """Whether the database's ledger has the entry of a mark."""
    return repository.hash_at(session, mark.size - 1) == mark.hash


def require_contained(session: Session, mark: Mark | None) -> None:
    """Refuse a ledger that lacks a mark's entry.

    Raises:
        SetBack: It does.
    """
    if mark is not None and not contains(session, mark):
        raise SetBack(
            f"the database lacks entry {mark.size - 1} of the ledger, which was committed: it was "
            "set back or exchanged under a running service; nothing is written to it or signed. "
            "Put the newest database back, and start again"
        )
