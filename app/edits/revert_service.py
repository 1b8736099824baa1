"""Accepting reverts: the undoing of one edit, wherever in history it was made."""

from dataclasses import asdict, dataclass

from app.database.tables.edits import EditStatus
from app.database.tables.operations import OperationKind
from app.database.tables.reverts import Revert
from app.deps.services import Services
from app.errors import SiblingsUnknown, WrongState
from app.kit.canonical import JsonObject
from app.operations import edits
from app.operations import reverts as repository
from app.operations.kin import kin_of
from app.operations.lifecycle import accept
from app.operations.once import Once
from app.operations.revisions import require_head


@dataclass(frozen=True)
class Wanted:
    """How an edit is to be undone.

    Attributes:
        reason: Why, in the client's words.
        force: Also where other facts of its subject are lost, or a gate is failed.
        restore: Whether the edit that it superseded is to be live again.
        dry_run: Whether to measure and report only.
        if_head: The only head to undo it on; None for any.
    """

    reason: str | None = None
    force: bool = False
    restore: bool = True
    dry_run: bool = False
    if_head: int | None = None

    def told(self, edit_id: str) -> JsonObject:
        """What the ledger says of it: an option only where it is taken."""
        options = {"force": self.force, "restore": self.restore, "dry_run": self.dry_run}
        return {"target_edit": edit_id} | {name: True for name, value in options.items() if value}


def request_revert(services: Services, edit_id: str, wanted: Wanted, once: Once) -> str:
    """Accept the operation that undoes one edit; its id.

    Raises:
        UnknownEdit: There is no such edit.
        WrongState: Head does not hold it.
        HeadMoved: The head is not the one that the client had seen.
        SiblingsUnknown: A fact that shares its value can be neither asked nor solved again.
        RateLimited: The actor has too many reverts and rollbacks in the queue.
    """
    once = once.asking(asdict(wanted))
    with services.database.write() as session:
        known = once.recall(session)
        if known is not None:
            return known
        require_head(session, wanted.if_head)
        edit = edits.get(session, edit_id)
        if edit.status is not EditStatus.COMMITTED:
            raise WrongState(
                f"edit {edit_id!r} is {edit.status.value}; only a committed one can be reverted"
            )
        kin = kin_of(session, edit_id, restore=wanted.restore)
        erased = [found.id for found in kin.siblings if found.text is None]
        if erased and not (kin.is_exact or wanted.force or wanted.dry_run):
            raise SiblingsUnknown(edit_id, erased)
        services.room.for_undoing(session, once.actor)
        operation = accept(
            session,
            id=services.new_id("revert"),
            kind=OperationKind.REVERT,
            details=wanted.told(edit_id),
            actor=once.actor,
            now=services.clock(),
            reason=wanted.reason,
            target_edit=edit_id,
            if_head=wanted.if_head,
        )
        revert = Revert(
            operation_id=operation.id,
            force=wanted.force,
            restore=wanted.restore,
            dry_run=wanted.dry_run,
        )
        repository.add(session, revert)
        once.keep(session, operation.id)
    services.announce(operation.id)
    return operation.id
