"""What a request handler may reach: built once in the lifespan, typed, and never global."""

from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Request

from app.budgets.budgets import Budgets
from app.clock import Clock, IdFactory
from app.database.database import Database
from app.edits.lengths import Lengths
from app.errors import ModelNotReady
from app.failpoints import Failpoint, failpoint
from app.observability.logs import get_logger
from app.observability.metrics import Metrics
from app.queue.doorbell import Doorbell
from app.readers import Readers
from app.revisions.artefacts import ArtefactStore
from app.settings import Settings

T = TypeVar("T")
_log = get_logger(__name__)


class Pending(Generic[T]):
    """Something that is made in the background and may not be there yet."""

    def __init__(self, reason: str) -> None:
        self._value: T | None = None
        self._reason = reason
        self._settled = Event()

    def fill(self, value: T) -> None:
        """Hand over what was made."""
        self._value = value
        self._settled.set()

    def fail(self, reason: str) -> None:
        """Say why it will never be there."""
        self._reason = reason
        self._settled.set()

    def get(self) -> T:
        """What was made.

        Raises:
            ModelNotReady: It is not there yet, or never will be; the message says which.
        """
        if self._value is None:
            raise ModelNotReady(self._reason)
        return self._value

    def wait(self, timeout_s: float) -> T | None:
        """What was made, once that is decided; None if it failed or takes longer."""
        self._settled.wait(timeout_s)
        return self._value


@dataclass(frozen=True)
class Services:
    """Everything below the HTTP layer that does not need the model.

    Attributes:
        lengths: How long an edit's texts may be, once there is a tokenizer to count them with.
    """

    settings: Settings
    database: Database
    doorbell: Doorbell
    artefacts: ArtefactStore
    clock: Clock
    new_id: IdFactory
    budgets: Budgets
    readers: Readers = field(default_factory=Readers)
    metrics: Metrics = field(default_factory=Metrics)
    lengths: Pending[Lengths] = field(default_factory=lambda: Pending("loading the tokenizer"))

    def announce(self, *operation_ids: str) -> None:
        """Tell log and worker of operations that are accepted, which is committed."""
        for operation_id in operation_ids:
            _log.info("operation_accepted", operation_id=operation_id)
        failpoint(Failpoint.ACCEPTED)
        self.doorbell.ring(operation_ids[0])


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


async def _actor(request: Request) -> str:
    actor: str = request.state.caller.actor
    return actor


ServicesDep = Annotated[Services, Depends(_services)]
#: who a change is recorded under: a key, or the same local user for everybody without one
ActorDep = Annotated[str, Depends(_actor)]
