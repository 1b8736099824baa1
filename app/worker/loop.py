"""The loop: claim what waits, execute it, sleep until the doorbell rings.

Without the lease, while another process has it, or before edits can be computed here, the loop
follows what others commit.
"""

import threading
from collections.abc import Callable, Sequence

from structlog.contextvars import bind_contextvars, clear_contextvars

from app.database.database import Database
from app.database.tables.operations import Operation
from app.errors import LeaseLost, Unavailable
from app.kit.clock import Clock
from app.kit.failpoints import Failpoint, failpoint
from app.kit.logs import get_logger
from app.kit.priority import step_back
from app.queue.doorbell import Doorbell
from app.worker.claims import Claims
from app.worker.execution import Execution
from app.worker.interruption import Interrupted, Interruption
from app.worker.lease import Lease
from app.worker.rejections import code_of

_FOLLOW_S = 0.2  # pause between two looks at the ledger while another process writes it
_RETRY_S = 1.0  # pause before work that failed or that an outage interrupted is tried again
_LONGEST_RETRY_S = 60.0  # the same, after an outage that lasts
_STOP_S = 30.0  # how long a stop waits for the operation in hand
_log = get_logger(__name__)


class Worker:
    """One thread that executes operations in the order in which `next_run` has them.

    Args:
        database: Where operations are.
        lease: The right to execute them; None for a process that is to follow for ever.
        doorbell: What wakes it.
        execution: What it does with them.
        batch_size: Most edits of one run.
        poll_s: How often it looks although the doorbell did not ring, in seconds.
        clock: What time it is.
        actor: Whom the ledger names as the author.
        interruption: Ends what is computed; the lease and the editor have the same.
        when_taken: Done each time it has taken the lease itself, before it executes anything.
        is_prepared: Whether this process can execute operations yet; it only follows before.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease | None,
        doorbell: Doorbell,
        execution: Execution,
        *,
        batch_size: int,
        poll_s: float,
        clock: Clock,
        actor: str,
        interruption: Interruption | None = None,
        when_taken: Callable[[], None] | None = None,
        is_prepared: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database, self._lease = database, lease
        self._doorbell, self._execution = doorbell, execution
        self._poll_s, self._when_taken, self._is_prepared = poll_s, when_taken, is_prepared
        self._interruption = interruption or Interruption()
        self._claims = Claims(
            batch_size=batch_size, clock=clock, actor=actor, metrics=execution.metrics
        )
        self._fence = None if lease is None else lease.fence
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        """Begin with what the queue holds."""
        self._thread.start()

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """End: what is computed is thrown away at its next step, and its operations wait again.

        So they do where that step takes longer than `timeout_s`: the lease is given back with them,
        and without it the thread that is left behind can commit nothing.
        """
        self._stopping.set()
        self._interruption.stop()
        self._doorbell.close()
        self._thread.join(timeout_s)
        if self._lease is not None:
            self._lease.release(self._claims.give_back)
        self._execution.metrics.writer.set(0)

    def _work(self) -> None:
        step_back()
        while not self._stopping.is_set():
            clear_contextvars()
            try:
                lease = self._acquired()
                self._execution.metrics.writer.set(lease is not None)
                self._execution.follow()
                if lease is None:
                    self._stopping.wait(_FOLLOW_S)
                    continue
                self._prepare(lease)
                if not self.work_off_one_run(lease):
                    self._doorbell.acknowledge()
                    self._doorbell.wait(min(self._poll_s, self._claims.pause_s or self._poll_s))
            except LeaseLost as error:
                self._execution.metrics.writer.set(0)
                _log.warning("lease_lost", error=str(error))
                self._lose()
            except (Unavailable, OSError) as error:
                _log.warning("worker_interrupted", error=str(error))
                self._stopping.wait(_RETRY_S)
            # The outermost frame of this thread survives any error. What was in hand is set back;
            # for what was alone this counts as an attempt, until it is given up.
            except Exception as error:
                _log.exception("run_failed")
                self._claims.failed(code_of(error))
                self._stopping.wait(_RETRY_S)

    def _acquired(self) -> Lease | None:
        """The lease, if it is ours. One who cannot write yet leaves it to those who can."""
        if self._lease is None or not self._is_prepared():
            return None
        return self._lease if self._lease.acquire() else None

    def work_off_one_run(self, lease: Lease) -> bool:
        """Execute the next run of operations; whether there was one."""
        self._interruption.renew()
        run = self._claims.next(lease)
        if not run:
            return False
        bind_contextvars(operation_id=run[0].id, operations=len(run))
        failpoint(Failpoint.CLAIMED)
        try:
            self._execute(run)
        except Interrupted:
            _log.info("run_set_back", operations=len(run))
            if not self._stopping.is_set():  # `stop` gives it back with the lease
                with lease.writing() as session:
                    self._claims.give_back(session)
        else:
            self._claims.ended()
        return True

    def _execute(self, run: Sequence[Operation]) -> None:
        """Execute a run, again and again while something it needs is away.

        The same run again keeps the order, and is no new attempt. What waits for a revert or a
        rollback lets it go first.

        Raises:
            Interrupted: It is not to be executed now.
        """
        pause_s = _RETRY_S
        while True:
            try:
                self._execution.execute(run)
            except (Unavailable, OSError) as error:
                _log.warning("run_interrupted", error=str(error), seconds=pause_s)
                self._interruption.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
            else:
                return

    def _prepare(self, lease: Lease) -> None:
        """What is done once in each time of writing, before anything is executed."""
        if lease.fence != self._fence and self._when_taken is not None:
            self._when_taken()
        self._fence = lease.fence

    def _lose(self) -> None:
        """Take back the attempt of what was in hand: this process lives, and only lost its turn."""
        if self._lease is None:
            return
        try:
            with self._lease.lost() as session:
                self._claims.lose(session)
        except Unavailable as error:
            _log.warning("attempt_not_taken_back", error=str(error))
