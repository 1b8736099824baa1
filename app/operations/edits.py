"""Finding and storing edits. Every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import ScalarResult, delete, select, update
from sqlalchemy.orm import Session, selectinload

from app.database.tables.edits import Edit, EditStatus, StoredText
from app.database.tables.operations import Operation
from app.errors import UnknownEdit
from app.facts.edit_report import EditReport
from app.facts.text import EditText, fact_digest, look_digest, subject_digest
from app.operations import idempotency_keys as idempotency

_HELD = 20  # edits, each with its texts and its report
_AT_ONCE = 1_000  # ids in one query: databases have a limit
_STANDING = (EditStatus.ACCEPTED, EditStatus.RUNNING, EditStatus.COMMITTED)


def get(session: Session, edit_id: str) -> Edit:
    """The edit with this id; `.operation` and `.text` come with it.

    Raises:
        UnknownEdit: There is none.
    """
    edit = session.get(Edit, edit_id)
    if edit is None:
        raise UnknownEdit(edit_id)
    return edit


def read_ahead(session: Session, ids: Sequence[str]) -> None:
    """Have a write transaction hold these edits, so that getting each asks the database no more."""
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        session.scalars(select(Edit).where(Edit.id.in_(some))).all()


def text_of(session: Session, edit_id: str) -> EditText | None:
    """The words of an edit, or None if they were erased."""
    stored = session.get(StoredText, edit_id)
    return None if stored is None else EditText.from_json(stored.content)


def add(session: Session, edit: Edit, text: EditText, *, salt: str) -> None:
    """Store a new edit with its words; its operation is there already."""
    session.add(edit)
    session.flush()
    session.add(
        StoredText(
            edit_id=edit.id,
            salt=salt,
            content=text.to_json(),
            subject_digest=subject_digest(text.subject),
            fact_digest=fact_digest(text.subject, text.template),
            look_digest=look_digest(text.subject),
        )
    )
    session.flush()


def forget(session: Session, edit: Edit) -> None:
    """Remove every word of an edit, and whatever would confirm a guess of one.

    Its salt goes with the text, so its digest in the ledger tells nothing any more; so does the
    digests of the requests that name it, which have no salt. The reasons of its reverts are free
    text.
    """
    session.execute(delete(StoredText).where(StoredText.edit_id == edit.id))
    reverts = Operation.target_edit == edit.id
    asked_for = {edit.id, *session.scalars(select(Operation.id).where(reverts))}
    idempotency.forget(session, asked_for if edit.batch_id is None else {*asked_for, edit.batch_id})
    session.execute(update(Operation).where(reverts).values(reason=None))
    if edit.report is not None:
        report = EditReport.model_validate(edit.report).without_words()
        edit.report = report.model_dump(mode="json")


def page(
    session: Session,
    *,
    after: int,
    limit: int,
    status: EditStatus | None = None,
    subject: str | None = None,
) -> ScalarResult[Edit]:
    """Up to `limit` edits whose `seq` is above `after`, oldest first, few in memory at a time.

    To be closed, as a reader need not come to its end.
    """
    query = (
        select(Edit)
        .join(Operation, Operation.id == Edit.id)
        .where(Operation.seq > after)
        .order_by(Operation.seq)
        .limit(limit)
        .options(selectinload(Edit.withdrawals))
    )
    if status is not None:
        query = query.where(Edit.status == status)
    if subject is not None:
        query = query.join(StoredText, StoredText.edit_id == Edit.id).where(
            StoredText.subject_digest == subject_digest(subject)
        )
    return session.scalars(query.execution_options(yield_per=_HELD))


def live_edit_of_fact(session: Session, subject: str, template: str) -> str | None:
    """The edit of this fact that head holds, however it was spelt."""
    query = (
        select(Edit.id)
        .join(StoredText, StoredText.edit_id == Edit.id)
        .where(
            StoredText.fact_digest == fact_digest(subject, template),
            Edit.status == EditStatus.COMMITTED,
        )
        .join(Operation, Operation.id == Edit.id)
        .order_by(Operation.seq.desc())
        .limit(1)
    )
    return session.scalar(query)


def look_alikes(session: Session, edit: Edit, limit: int) -> dict[str, EditText]:
    """The newest edits that head holds or will, of subjects that only look like this edit's.

    Edit id → its words.
    """
    if edit.text is None:
        return {}
    query = (
        select(Edit.id, StoredText.content)
        .join(StoredText, StoredText.edit_id == Edit.id)
        .join(Operation, Operation.id == Edit.id)
        .where(
            StoredText.look_digest == edit.text.look_digest,
            StoredText.subject_digest != edit.text.subject_digest,
            Edit.status.in_(_STANDING),
        )
        .order_by(Operation.seq.desc())
        .limit(limit)
    )
    return {id: EditText.from_json(content) for id, content in session.execute(query)}


def live_edits_of_subject(
    session: Session, subject: str, *, but: Collection[str] = ()
) -> dict[str, EditText]:
    """The edits of a subject that head holds, but these, the oldest first; edit id → its words.

    Only of the subject in these very letters: in others it has another key.
    """
    query = (
        select(Edit.id, StoredText.content)
        .join(StoredText, StoredText.edit_id == Edit.id)
        .join(Operation, Operation.id == Edit.id)
        .where(
            StoredText.subject_digest == subject_digest(subject),
            Edit.status == EditStatus.COMMITTED,
            Edit.id.not_in(but),
        )
        .order_by(Operation.seq)
    )
    texts = {id: EditText.from_json(content) for id, content in session.execute(query)}
    return {id: text for id, text in texts.items() if text.subject == subject}


def erased_live_edits(session: Session) -> Sequence[Edit]:
    """Edits that head holds and whose words were erased, the oldest first."""
    query = (
        select(Edit)
        .join(Operation, Operation.id == Edit.id)
        .where(Edit.erased_at.is_not(None), Edit.status == EditStatus.COMMITTED)
        .order_by(Operation.seq)
    )
    return session.scalars(query).all()


def edits_of_subject(session: Session, subject: str) -> list[str]:
    """Ids of the edits of a subject in these very letters, live or not."""
    query = select(StoredText.edit_id, StoredText.content).where(
        StoredText.subject_digest == subject_digest(subject)
    )
    texts = ((id, EditText.from_json(content)) for id, content in session.execute(query))
    return [id for id, text in texts if text.subject == subject]
