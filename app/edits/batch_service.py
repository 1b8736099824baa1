"""Accepting batches: all of their edits in one transaction, one after the other in the order."""

from collections import Counter
from collections.abc import Sequence

from app.database.tables.batches import EditBatch
from app.deps.services import Services
from app.edits.batch_schemas import EditBatchRequest
from app.edits.payment import Accepted, pay
from app.edits.service import Draft, body_of, check_tokens, draft_of, recalled, store
from app.errors import InvalidField
from app.facts.subjects import MOST_FACTS
from app.facts.text import fact_digest
from app.operations import batches as repository
from app.operations.once import Once
from editing_core.methods import method_named


def submit(services: Services, request: EditBatchRequest, *, dry_run: bool, once: Once) -> Accepted:
    """Accept a batch, or find the one that the same request was accepted as before.

    Raises:
        InvalidField: One of its edits is unusable, or they cannot be solved together though they
            must; the field names which.
        IdempotencyMismatch: The idempotency key stands for another request.
        RateLimited: The actor has not so many edits left in this minute, or bytes of them, or
            places in the queue.
        StorageFull: There is too little free space for edits.
    """
    asked = [body_of(edit, dry_run=dry_run) for edit in request.edits]
    once = once.asking({"edits": [*asked], "atomic": request.atomic})
    known = recalled(services, once)
    if known is not None:
        return Accepted(known)
    drafts = _drafts(services, request, dry_run=dry_run)
    if request.atomic:
        _check_solvable_together(drafts)
    paid = pay(services, once.actor, [draft.text for draft in drafts])
    with paid.unless_accepted():
        _check_tokens(services, drafts)
    with paid.unless_accepted(), services.database.write() as session:
        known = once.recall(session)
        if known is not None:  # sent twice at the same time
            paid.give_back()
            return Accepted(known)
        services.room.for_edits(session, once.actor, len(drafts))
        batch = EditBatch(
            id=services.new_id("batch"), atomic=request.atomic, created_at=services.clock()
        )
        repository.add(session, batch)
        ids = [store(services, session, draft, batch=batch, actor=once.actor) for draft in drafts]
        once.keep(session, batch.id)
    services.announce(*ids)
    return Accepted(batch.id, paid.headers)


def _check_tokens(services: Services, drafts: Sequence[Draft]) -> None:
    for index, draft in enumerate(drafts):
        try:
            check_tokens(services, draft.text)
        except InvalidField as error:
            raise InvalidField(f"edits[{index}].{error.field}", error.message) from error


def _drafts(services: Services, request: EditBatchRequest, *, dry_run: bool) -> list[Draft]:
    drafts = []
    for index, edit in enumerate(request.edits):
        try:
            drafts.append(draft_of(services, edit, dry_run=dry_run))
        except InvalidField as error:
            raise InvalidField(f"edits[{index}].{error.field}", error.message) from error
    return drafts


def _check_solvable_together(drafts: Sequence[Draft]) -> None:
    method, facts = drafts[0].method, dict[str, int]()
    subjects = Counter[str]()
    if len(drafts) > 1 and not method_named(method).separable:
        raise InvalidField(
            "edits[0].method",
            f"{method} changes a matrix as a whole, so that its edits could not be undone one by "
            "one if they came as one revision; choose another method, or send atomic: false",
        )
    for index, draft in enumerate(drafts):
        if draft.method != method:
            raise InvalidField(
                f"edits[{index}].method",
                f"{draft.method} differs from {method} of edits[0]; edits of an atomic batch are "
                "solved together and must have one method",
            )
        subjects[draft.text.subject] += 1
        if subjects[draft.text.subject] > MOST_FACTS:
            raise InvalidField(
                f"edits[{index}].subject",
                f"this is fact {MOST_FACTS + 1} of its subject; an atomic batch may state "
                f"{MOST_FACTS}, since one value must suit them all",
            )
        fact = fact_digest(draft.text.subject, draft.text.template)
        if fact in facts:
            raise InvalidField(
                f"edits[{index}].prompt",
                f"states the same fact as edits[{facts[fact]}]; an atomic batch may state a fact "
                "once",
            )
        facts[fact] = index
