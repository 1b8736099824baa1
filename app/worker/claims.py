"""What the worker has in hand: claimed, given back, recovered from a process that died with it."""

import time
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from app.database.tables.operations import Operation, OperationStatus
from app.kit.clock import Clock
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.metrics.metrics import Metrics
from app.operations import lifecycle as operations
from app.operations import recovery, repository
from app.operations.queue_state import state
from app.worker.lease import Lease

_LONGEST_PAUSE_S = 30.0
_CALM_S = 60.0  # a writer that lived so long is no longer dying of what it found
_log = get_logger(__name__)


class Claims:
    """The operations of one process, under its lease.

    After several processes died one after another with edits in hand, each waits longer before it
    begins one, in case the edits are why. What was given up then is tried once more when a writer
    has lived for a minute; each time that was in vain doubles how long it must have lived.

    Args:
        batch_size: Most edits of one run.
        clock: What time it is.
        actor: Whom the ledger names as the author.
        metrics: Told of what is given up.
        monotonic: Seconds that only ever grow.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        clock: Clock,
        actor: str,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batch_size, self._clock, self._actor = batch_size, clock, actor
        self._metrics, self._monotonic = metrics, monotonic
        self._in_hand: tuple[str, ...] = ()
        self._failure: str | None = None
        self._fence: int | None = None
        self._has_ended_some = False
        self._taken_at = self._edits_from = self._trial_from = monotonic()

    @property
    def pause_s(self) -> float:
        """How long no edit is begun yet, in seconds."""
        return max(0.0, self._edits_from - self._monotonic())

    @property
    def _lived_s(self) -> float:
        """How long this process has been the writer, in seconds."""
        return self._monotonic() - self._taken_at

    def next(self, lease: Lease) -> Sequence[Operation]:
        """Claim what is to be executed now.

        Raises:
            LeaseLost: Another process writes now.
            DatabaseUnavailable: The database cannot be reached.
        """
        with lease.writing() as session:
            dead = self._recover(session, lease.fence)
            self._try_again(session)
            run = repository.next_run(session, self._batch_size, edits=not self.pause_s)
            if run:
                failpoint(Failpoint.CLAIMING)
                operations.claim(session, run, self._clock())
            self._in_hand = tuple(operation.id for operation in run)
        for operation in dead:
            self._tell_dead(operation)
        return run

    def ended(self) -> None:
        """All in hand has come to its end."""
        self._in_hand, self._has_ended_some = (), True

    def failed(self, reason: str) -> None:
        """Executing what is in hand failed for an unforeseen reason, named as a code."""
        self._failure = reason

    def give_back(self, session: Session) -> None:
        """Return what is in hand to the queue as it was; it is not to be executed now."""
        recovery.give_back(session, self._in_hand, self._clock())
        self._in_hand = ()

    def lose(self, session: Session) -> None:
        """Another process writes: what was in hand is its own now, and was no attempt here."""
        recovery.forgive(session, self._in_hand)
        self._in_hand = ()

    def _recover(self, session: Session, fence: int | None) -> Sequence[Operation]:
        """Set back the operations of dead processes; returns those that were given up."""
        running, row, is_new = repository.running(session), state(session), fence != self._fence
        reason, self._failure = recovery.CRASHED if is_new else self._failure, None
        if is_new:
            row.deaths = row.deaths + 1 if running else 0
            self._begin(fence, row.deaths)
        elif row.deaths and (self._has_ended_some or self._lived_s >= _CALM_S):
            row.deaths = 0
        if reason is None:  # what could not be given back when it should
            ids = [operation.id for operation in running]
            recovery.give_back(session, ids, self._clock())
            return []
        return recovery.recover(session, running, reason, now=self._clock(), actor=self._actor)

    def _begin(self, fence: int | None, deaths: int) -> None:
        """This process has become the writer, after so many deaths of its predecessors."""
        self._fence, self._has_ended_some = fence, False
        self._taken_at = now = self._monotonic()
        pause = min(2.0 ** (deaths - 2), _LONGEST_PAUSE_S) if deaths > 1 else 0.0
        self._edits_from, self._trial_from = now + pause, now + _CALM_S
        if pause:
            _log.warning("edits_wait", seconds=pause, deaths=deaths)

    def _try_again(self, session: Session) -> None:
        now = self._monotonic()
        if now < self._trial_from or state(session).paused_at is not None:
            return
        self._trial_from = now + _CALM_S
        if self._lived_s >= _CALM_S * 2.0 ** recovery.lost_trials(session):
            ids = recovery.try_again(session, now=self._clock(), actor=self._actor)
            for id in ids:
                _log.info("operation_tried_again", operation_id=id)

    def _tell_dead(self, operation: Operation) -> None:
        attempts, reason = operation.attempts, operation.reason
        _log.error("operation_dead", operation_id=operation.id, attempts=attempts, reason=reason)
        ended = self._metrics.ended.labels(operation.kind.value, OperationStatus.DEAD.value)
        ended.inc()
