"""How much one caller may have in the queue, which all callers share."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.database.tables.operations import OperationKind
from app.errors import InvalidField, RateLimited
from app.operations import repository

_RETRY_S = 10
_EDITS = (OperationKind.EDIT,)
# Counted apart: a caller with a full queue of edits must still be able to undo.
_UNDOINGS = (OperationKind.REVERT, OperationKind.ROLLBACK)


@dataclass(frozen=True)
class Room:
    """The places that each caller has in the queue.

    Attributes:
        most: How many unfinished edits, and as many reverts and rollbacks; 0 for any number.
    """

    most: int

    def for_edits(self, session: Session, actor: str, amount: int) -> None:
        """Make sure that a caller may queue so many more edits; for the transaction that does.

        Raises:
            InvalidField: No queue of one caller is that long.
            RateLimited: Too many of the caller's edits wait already.
        """
        if 0 < self.most < amount:
            raise InvalidField(
                "edits",
                f"these are {amount} edits, and {self.most} of a caller may wait at a time "
                "(ERRATA_QUEUED_PER_CALLER); send fewer together",
            )
        self._check(session, actor, amount, _EDITS, "edits")

    def for_undoing(self, session: Session, actor: str) -> None:
        """Make sure that a caller may queue another revert or rollback.

        Raises:
            RateLimited: Too many of the caller's wait already.
        """
        self._check(session, actor, 1, _UNDOINGS, "reverts and rollbacks")

    def _check(
        self,
        session: Session,
        actor: str,
        amount: int,
        kinds: tuple[OperationKind, ...],
        unit: str,
    ) -> None:
        if not self.most:
            return
        waiting = repository.count_unfinished_of(session, actor, kinds)
        if waiting + amount > self.most:
            raise RateLimited(
                f"{waiting} {unit} of {actor} are not executed yet, and a caller may have "
                f"{self.most} (ERRATA_QUEUED_PER_CALLER); this needs {amount}",
                retry_after_s=_RETRY_S,
            )
