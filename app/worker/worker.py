"""The loop: claim the lowest waiting operations, execute them, sleep until the doorbell rings.

Without the lease, or while another process has it, the loop follows what that one commits.
"""

import threading
from collections.abc import Sequence

from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.clock import Clock
from app.database.database import Database
from app.errors import LeaseLost, Unavailable
from app.failpoints import Failpoint, failpoint
from app.observability.logs import get_logger
from app.operations import repository
from app.operations import service as operations
from app.operations.models import Operation, OperationStatus
from app.queue.doorbell import Doorbell
from app.readers import step_back
from app.worker.execution import Execution
from app.worker.lease import Lease

_MOST_ATTEMPTS = 3  # claims that ended without a verdict, because process or execution died
_FOLLOW_S = 0.2  # pause between two looks at the ledger while another process writes it
_RETRY_S = 1.0  # pause before work that an outage interrupted is tried again
_STOP_S = 30.0  # how long a stop waits for the operation in hand
_log = get_logger(__name__)


class Worker:
    """One thread that executes operations in the order of their ``seq``, one run at a time.

    Args:
        database: Where operations are.
        lease: The right to execute them; None for a process that is to follow for ever.
        doorbell: What wakes it.
        execution: What it does with them.
        batch_size: Most edits of one run.
        poll_s: How often it looks although the doorbell did not ring, in seconds.
        clock: What time it is.
        actor: Whom the ledger names as the author.
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
    ) -> None:
        self._database, self._lease = database, lease
        self._doorbell, self._execution = doorbell, execution
        self._batch_size, self._poll_s = batch_size, poll_s
        self._clock, self._actor = clock, actor
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        """Begin with what the queue holds."""
        self._thread.start()

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """End after the operation in hand; what is interrupted is claimed again at next start."""
        self._stopping.set()
        self._doorbell.close()
        self._thread.join(timeout_s)
        if self._lease is not None:
            self._lease.release()
        self._execution.metrics.writer.set(0)

    def _work(self) -> None:
        step_back()
        while not self._stopping.is_set():
            clear_contextvars()
            try:
                lease = self._lease if self._lease and self._lease.acquire() else None
                self._execution.metrics.writer.set(lease is not None)
                self._execution.follow()
                if lease is None:
                    self._stopping.wait(_FOLLOW_S)
                elif not self.work_off_one_run(lease):
                    self._doorbell.acknowledge()
                    self._doorbell.wait(self._poll_s)
            except LeaseLost as error:
                self._execution.metrics.writer.set(0)
                _log.warning("lease_lost", error=str(error))
            except (Unavailable, OSError) as error:
                _log.warning("worker_interrupted", error=str(error))
                self._stopping.wait(_RETRY_S)
            # The outermost frame of this thread: nobody may end it, and what was in hand is claimed
            # again, which counts as an attempt, until it is given up and the queue moves on.
            except Exception:
                _log.exception("run_failed")
                self._stopping.wait(_RETRY_S)

    def work_off_one_run(self, lease: Lease) -> bool:
        """Execute the next run of operations; whether there was one."""
        run = self._claim(lease)
        if not run:
            return False
        bind_contextvars(operation_id=run[0].id, operations=len(run))
        failpoint(Failpoint.CLAIMED)
        while not self._stopping.is_set():
            try:
                self._execution.execute(run)
            except (Unavailable, OSError) as error:
                # Nothing was committed; the same run again keeps the order and is no new attempt.
                _log.warning("run_interrupted", error=str(error))
                self._stopping.wait(_RETRY_S)
            else:
                break
        return True

    def _claim(self, lease: Lease) -> Sequence[Operation]:
        with lease.writing() as session:
            run = repository.next_run(session, self._batch_size)
            while run and run[0].attempts >= _MOST_ATTEMPTS:
                for operation in repository.next_run(session, 1):  # it, or its atomic batch
                    self._give_up(session, operation)
                run = repository.next_run(session, self._batch_size)
            if not run:
                return []
            if run[0].attempts:
                # It may be what killed the last process: let it die alone.
                run = repository.next_run(session, 1)
            failpoint(Failpoint.CLAIMING)
            operations.claim(session, run, self._clock())
            return run

    def _give_up(self, session: Session, operation: Operation) -> None:
        operations.give_up(session, operation.id, "crashed", now=self._clock(), actor=self._actor)
        _log.error("operation_dead", operation_id=operation.id, attempts=operation.attempts)
        self._execution.metrics.ended.labels(operation.kind.value, OperationStatus.DEAD.value).inc()
