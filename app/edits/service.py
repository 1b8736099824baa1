"""Accepting edits."""

import hashlib
import secrets
from datetime import datetime

from sqlalchemy.orm import Session

from app.edits import repository
from app.edits.models import Edit, EditStatus
from app.edits.schemas import EditRequest
from app.edits.text import EditText, Neighbour
from app.errors import IdempotencyMismatch, InvalidField, WrongState
from app.ledger import service as ledger
from app.ledger.chain import canonical
from app.ledger.models import EntryKind
from app.operations import repository as operations
from app.operations.models import IdempotencyKey, Operation, OperationKind
from app.operations.service import accept
from app.services import Services
from editing_core.edit import Edit as CoreEdit
from editing_core.errors import InvalidEdit
from editing_core.methods import METHOD_NAMES

_SALT_BYTES = 16


def submit(services: Services, request: EditRequest, *, key: str | None, actor: str) -> str:
    """Accept an edit, or find the one this idempotency key already stands for; its id.

    Raises:
        InvalidField: The prompt does not name the subject once, or the method is not known.
        IdempotencyMismatch: The key stands for an edit with another body.
    """
    text, method = _text(request), _method(services, request)
    body_digest = hashlib.sha256(canonical(request.model_dump(mode="json")).encode()).hexdigest()
    with services.database.write() as session:
        known = None if key is None else operations.find_key(session, key)
        if known is not None:
            if known.body_digest != body_digest:
                raise IdempotencyMismatch
            return known.operation_id
        edit_id = _store(services, session, text, method=method, force=request.force, actor=actor)
        if key is not None:
            session.add(
                IdempotencyKey(
                    key=key,
                    body_digest=body_digest,
                    operation_id=edit_id,
                    created_at=services.clock(),
                )
            )
    services.doorbell.ring(edit_id)
    return edit_id


def request_revert(
    services: Services, edit_id: str, *, reason: str | None, actor: str
) -> Operation:
    """Accept the operation that undoes one edit.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: Head does not hold it.
    """
    with services.database.write() as session:
        edit = repository.get(session, edit_id)
        if edit.status is not EditStatus.COMMITTED:
            raise WrongState(
                f"edit {edit_id!r} is {edit.status.value}; only a committed one can be reverted"
            )
        operation = accept(
            session,
            id=services.new_id("revert"),
            kind=OperationKind.REVERT,
            details={"target_edit": edit_id},
            actor=actor,
            now=services.clock(),
            reason=reason,
            target_edit=edit_id,
        )
    services.doorbell.ring(operation.id)
    return operation


def erase(session: Session, edit_id: str, *, actor: str, now: datetime) -> None:
    """Remove the words of an edit that has ended; its effect and the proof of it stay.

    Erasing it again changes nothing.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: It is still to be executed.
    """
    edit = repository.get(session, edit_id)
    if edit.erased_at is not None:
        return
    if edit.status in (EditStatus.ACCEPTED, EditStatus.RUNNING):
        way = "cancel it first" if edit.status is EditStatus.ACCEPTED else "wait for its end"
        raise WrongState(f"edit {edit_id!r} is {edit.status.value}; {way}, then erase it")
    repository.forget(session, edit)
    entry = ledger.append(session, EntryKind.ERASURE, {"id": edit_id}, actor=actor, now=now)
    edit.operation.ledger_index = entry.index
    edit.erased_at = now


def _store(
    services: Services, session: Session, text: EditText, *, method: str, force: bool, actor: str
) -> str:
    edit_id, salt = services.new_id("edit"), secrets.token_hex(_SALT_BYTES)
    digest = text.digest(salt)
    accept(
        session,
        id=edit_id,
        kind=OperationKind.EDIT,
        details={"method": method, "text_digest": digest},
        actor=actor,
        now=services.clock(),
    )
    edit = Edit(
        id=edit_id, method=method, force=force, status=EditStatus.ACCEPTED, text_digest=digest
    )
    repository.add(session, edit, text, salt=salt)
    return edit_id


def _method(services: Services, request: EditRequest) -> str:
    method = services.settings.method if request.method is None else request.method
    if method not in METHOD_NAMES:
        raise InvalidField(
            "method", f"this method is not known; accepted: {', '.join(METHOD_NAMES)}"
        )
    return method


def _text(request: EditRequest) -> EditText:
    try:
        edit = CoreEdit.create(
            id="", subject=request.subject, prompt=request.prompt, target=request.target
        )
    except InvalidEdit as error:
        raise InvalidField(error.field, str(error)) from error
    return EditText(
        subject=edit.subject,
        prompt=request.prompt,
        template=edit.template,
        target=edit.target,
        target_old=request.target_old,
        paraphrases=tuple(request.paraphrases),
        neighbours=tuple(Neighbour(item.prompt, item.answer) for item in request.neighbours),
        metadata=request.metadata,
    )
