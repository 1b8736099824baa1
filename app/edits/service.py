"""Accepting edits, cancelling them, queueing them again, erasing them."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.database.tables.batches import EditBatch
from app.database.tables.edits import Edit, EditStatus
from app.database.tables.operations import OperationKind
from app.deps.services import Services
from app.edits.payment import Accepted, pay
from app.edits.schemas import EditRequest
from app.errors import InvalidField, WrongState
from app.facts.gate_limits import Limits, WantedLimits
from app.facts.text import EditText, Neighbour
from app.kit.canonical import JsonObject
from app.operations import edits as repository
from app.operations import erasing as erasures
from app.operations.batches import bound_together
from app.operations.lifecycle import accept, cancel, requeue, tell_cancelled
from app.operations.once import Once
from editing_core.edit import Edit as CoreEdit
from editing_core.errors import InvalidEdit
from editing_core.methods import METHOD_NAMES

_SALT_BYTES = 16
_MAX_BYTES = 65_536  # of all texts of one edit
_SHOWN_CHARS = 80


@dataclass(frozen=True)
class Draft:
    """An edit that was checked and can be accepted.

    Attributes:
        text: Its words.
        method: How it is to be computed.
        force: Whether to solve it even where the model says the target already.
        dry_run: Whether to compute and report only.
        gates: Limits of its own, as they are stored.
    """

    text: EditText
    method: str
    force: bool
    dry_run: bool
    gates: JsonObject | None


def draft_of(services: Services, request: EditRequest, *, dry_run: bool) -> Draft:
    """Check everything in a request that can be checked without reading its texts as tokens.

    Raises:
        InvalidField: The prompt does not name the subject once, the method is not known, a gate
            would be looser than the service's, or all texts together are too long.
    """
    text, method = _text(request), _method(services, request)
    _check_size(text)
    wanted = request.gates or WantedLimits()
    Limits.of(services.settings).refuse_looser(wanted)
    return Draft(text, method, request.force, dry_run, wanted.to_json())


def submit(services: Services, request: EditRequest, *, dry_run: bool, once: Once) -> Accepted:
    """Accept an edit, or find the one that the same request was accepted as before.

    Raises:
        InvalidField: See `draft_of`, or a text has too many tokens.
        IdempotencyMismatch: The idempotency key stands for another request.
        RateLimited: The actor has no edit left in this minute, or not so many bytes, or no place
            in the queue.
        StorageFull: There is too little free space for edits.
    """
    once = once.asking(body_of(request, dry_run=dry_run))
    known = recalled(services, once)
    if known is not None:  # accepted then, whatever would be refused now
        return Accepted(known)
    draft = draft_of(services, request, dry_run=dry_run)
    paid = pay(services, once.actor, [draft.text])
    with paid.unless_accepted():
        check_tokens(services, draft.text)
    with paid.unless_accepted(), services.database.write() as session:
        known = once.recall(session)
        if known is not None:  # sent twice at the same time
            paid.give_back()
            return Accepted(known)
        services.room.for_edits(session, once.actor, 1)
        edit_id = store(services, session, draft, batch=None, actor=once.actor)
        once.keep(session, edit_id)
    services.announce(edit_id)
    return Accepted(edit_id, paid.headers)


def recalled(services: Services, once: Once) -> str | None:
    """What a request became when it was sent before, found before anything is checked or paid.

    Raises:
        IdempotencyMismatch: Its idempotency key stands for another request.
    """
    if once.key is None:
        return None
    with services.database.read() as session:
        return once.recall(session)


def check_tokens(services: Services, text: EditText) -> None:
    """Make sure that no text has too many tokens, once the model is loaded.

    Raises:
        InvalidField: One has.
    """
    lengths = services.lengths.wait(0.0)
    if lengths is not None:
        lengths.check(text)


def body_of(request: EditRequest, *, dry_run: bool) -> JsonObject:
    """What was asked for, without floats."""
    gates = None if request.gates is None else _as_text(request.gates.to_json() or {})
    asked = request.model_dump(mode="json", exclude={"gates"})
    return asked | {"gates": gates, "dry_run": dry_run}


def store(
    services: Services, session: Session, draft: Draft, *, batch: EditBatch | None, actor: str
) -> str:
    """Accept a draft at the end of the order, and say so in the ledger; its new id."""
    edit_id, salt = services.new_id("edit"), secrets.token_hex(_SALT_BYTES)
    digest = draft.text.digest(salt)
    accept(
        session,
        id=edit_id,
        kind=OperationKind.EDIT,
        details=_told(draft, digest, batch),
        actor=actor,
        now=services.clock(),
    )
    edit = Edit(
        id=edit_id,
        method=draft.method,
        force=draft.force,
        status=EditStatus.ACCEPTED,
        text_digest=digest,
        dry_run=draft.dry_run,
        gates=draft.gates,
        batch_id=None if batch is None else batch.id,
    )
    repository.add(session, edit, draft.text, salt=salt)
    return edit_id


def cancel_edit(services: Services, edit_id: str, once: Once) -> None:
    """Cancel an edit the worker has not begun, and all of its batch if that is atomic.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: It has begun or ended.
    """
    with services.database.write() as session:
        if once.recall(session) is not None:
            return
        edits = bound_together(session, repository.get(session, edit_id))
        for edit in edits:
            cancel(session, edit.id, now=services.clock(), actor=once.actor)
        once.keep(session, edit_id)
    tell_cancelled(edit.operation for edit in edits)


def requeue_edit(services: Services, edit_id: str, once: Once) -> None:
    """Queue a dead edit again, at the end, and all of its batch if that is atomic.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: It is not dead.
        RateLimited: Who posted it has too many edits in the queue.
    """
    with services.database.write() as session:
        if once.recall(session) is not None:
            return
        edits = bound_together(session, repository.get(session, edit_id))
        services.room.for_edits(session, edits[0].operation.actor, len(edits))
        for edit in edits:
            requeue(session, edit.id, now=services.clock(), actor=once.actor)
        once.keep(session, edit_id)
    services.announce(edit_id)


def erase(session: Session, edit_id: str, *, actor: str, now: datetime) -> None:
    """Remove the words of an edit that has ended; its effect and the proof of it stay.

    Erasing it again changes nothing. The words leave the files of the database after the
    transaction, by `app.operations.purging`.

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
    erasures.record(session, edit.operation, actor=actor, now=now)
    edit.erased_at = now


def _told(draft: Draft, text_digest: str, batch: EditBatch | None) -> JsonObject:
    """What the ledger says of an edit: an option only where it is taken."""
    told: JsonObject = {
        "method": draft.method,
        "text_digest": text_digest,
        "force": draft.force,
    }
    if draft.dry_run:
        told["dry_run"] = True
    if draft.gates:
        told["gates"] = _as_text(draft.gates)
    if batch is not None:
        told |= {"batch": batch.id, "atomic": batch.atomic}
    return told


def _as_text(numbers: JsonObject) -> JsonObject:
    return {name: str(value) for name, value in numbers.items()}


def _method(services: Services, request: EditRequest) -> str:
    method = services.settings.method if request.method is None else request.method
    if method not in METHOD_NAMES:
        raise InvalidField(
            "method",
            f"no method is named {method[:_SHOWN_CHARS]!r}; accepted: {', '.join(METHOD_NAMES)}",
        )
    return method


def _check_size(text: EditText) -> None:
    sizes = text.sizes()
    size = sum(sizes.values())
    if size > _MAX_BYTES:
        raise InvalidField(
            max(sizes, key=lambda name: sizes[name]),
            f"the texts of this edit have {size} bytes together; at most {_MAX_BYTES} are accepted",
        )


def _text(request: EditRequest) -> EditText:
    try:
        edit = CoreEdit.create(
            id="", subject=request.subject, prompt=request.prompt, target=request.target
        )
    except InvalidEdit as error:
        raise InvalidField(error.field, str(error)) from error
    return EditText(
        subject=request.subject.strip(),
        prompt=request.prompt,
        template=edit.template,
        target=request.target.strip(),
        target_old=request.target_old,
        paraphrases=tuple(request.paraphrases),
        neighbours=tuple(
            Neighbour(item.prompt, item.answer, item.separator) for item in request.neighbours
        ),
        metadata=request.metadata,
        separator=_separator(request),
    )


def _separator(request: EditRequest) -> str | None:
    """What the request says of it: by its field, or by a space that it begins the target with."""
    begins_with_space = request.target.startswith(" ")
    return " " if request.separator is None and begins_with_space else request.separator
