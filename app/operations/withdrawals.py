"""Finding and storing withdrawals. Every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.database.tables.revisions import Revision, RevisionChange
from app.database.tables.withdrawals import Withdrawal
from app.errors import RevisionWithdrawn
from app.facts.spans import Span, are_within, merged, spans_of


def add(session: Session, withdrawals: Collection[Withdrawal]) -> None:
    """Store new withdrawals."""
    session.add_all(withdrawals)
    session.flush()


def of_edit(session: Session, edit_id: str) -> Sequence[Withdrawal]:
    """Those that were made because of an edit, oldest revision first."""
    query = select(Withdrawal).where(Withdrawal.edit_id == edit_id).order_by(Withdrawal.first)
    return session.scalars(query).all()


def between(session: Session, first: int, last: int) -> Sequence[Withdrawal]:
    """Those that concern one of these revisions, in the order they were made."""
    query = select(Withdrawal).where(Withdrawal.last >= first, Withdrawal.first <= last)
    return session.scalars(query.order_by(Withdrawal.id)).all()


def require_served(session: Session, *revisions: int) -> None:
    """Let only revisions pass that are served.

    Raises:
        RevisionWithdrawn: One of them was withdrawn.
    """
    for revision in revisions:
        for found in between(session, revision, revision)[:1]:
            raise RevisionWithdrawn(revision, found.why, found.withdrawn_at)


def require_not_withdrawn(session: Session, edit_ids: Sequence[str]) -> None:
    """Let only edits pass that may be live again.

    Raises:
        RevisionWithdrawn: The revisions that held one of them were withdrawn.
    """
    query = select(Withdrawal).where(Withdrawal.edit_id.in_(edit_ids)).order_by(Withdrawal.id)
    for found in session.scalars(query.limit(1)):
        raise RevisionWithdrawn(found.first, found.why, found.withdrawn_at)


def among(revision: InstrumentedAttribute[int], spans: Collection[Span]) -> ColumnElement[bool]:
    """Condition: the revision in this column lies in one of the spans."""
    return or_(*(revision.between(span.first, span.last) for span in spans))


def spans(session: Session, edit_id: str, *, head: int) -> list[Span]:
    """Which revisions hold an edit, up to the head."""
    query = (
        select(RevisionChange.revision, RevisionChange.change)
        .where(RevisionChange.edit_id == edit_id, RevisionChange.change != 0)
        .order_by(RevisionChange.revision)
    )
    return spans_of(((number, change) for number, change in session.execute(query)), head=head)


def unserved_artefacts(session: Session, *, size: int) -> set[str]:
    """Artefacts that only withdrawn revisions need, as the first `size` ledger entries have it."""
    withdrawn = session.scalars(select(Withdrawal).where(Withdrawal.ledger_index < size)).all()
    if not withdrawn:
        return set()
    head = session.scalars(select(func.max(Revision.number))).one()
    ranges = merged(Span(found.first, found.last) for found in withdrawn)
    found = set[str]()
    causes = {withdrawal.edit_id for withdrawal in withdrawn}
    named = select(RevisionChange.artefact).where(
        RevisionChange.edit_id.in_(causes), RevisionChange.artefact.is_not(None)
    )
    for digest in session.scalars(named.distinct()):
        holders = select(RevisionChange.edit_id).where(RevisionChange.artefact == digest)
        edits = session.scalars(holders.distinct()).all()
        held = (_spans_with(session, edit_id, digest, head=head) for edit_id in edits)
        if digest is not None and all(are_within(some, ranges) for some in held):
            found.add(digest)
    return found


def _spans_with(session: Session, edit_id: str, artefact: str | None, *, head: int) -> list[Span]:
    """Which revisions hold an edit with its factors of this artefact, up to the head."""
    query = (
        select(RevisionChange.revision, RevisionChange.artefact)
        .where(RevisionChange.edit_id == edit_id)
        .order_by(RevisionChange.revision)
    )
    changes = ((at, 1 if held == artefact else -1) for at, held in session.execute(query))
    return spans_of(changes, head=head)
