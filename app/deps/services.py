"""What a request handler may reach: built once in the lifespan, typed, and never global."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.access.budgets import Budgets
from app.database.database import Database
from app.facts.lengths import Lengths
from app.kit.clock import Clock, IdFactory
from app.kit.disk import DiskSpace
from app.kit.failpoints import Failpoint, failpoint
from app.kit.lane import Lane
from app.kit.logs import get_logger
from app.kit.pending import Pending
from app.kit.priority import Readers
from app.ledger.artefacts import ArtefactStore
from app.metrics.metrics import Metrics
from app.operations.room import Room
from app.queue.doorbell import Doorbell
from app.settings import Settings

_log = get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """Everything below the HTTP layer that does not need the model.

    Attributes:
        verifying: Where the ledger is checked.
        reporting: Where other work is done whose cost grows with history.
        lengths: How long an edit's texts may be, once there is a tokenizer to count them with.
    """

    settings: Settings
    database: Database
    doorbell: Doorbell
    artefacts: ArtefactStore
    clock: Clock
    new_id: IdFactory
    budgets: Budgets
    room: Room = field(default_factory=lambda: Room(most=0))
    readers: Readers = field(default_factory=Readers)
    metrics: Metrics = field(default_factory=Metrics)
    verifying: Lane = field(default_factory=lambda: Lane("verifying"))
    reporting: Lane = field(default_factory=lambda: Lane("reporting"))
    lengths: Pending[Lengths] = field(default_factory=lambda: Pending("loading the tokenizer"))

    @property
    def space(self) -> DiskSpace:
        """Of the data directory."""
        return DiskSpace(self.settings.data_dir, self.settings.min_free_bytes)

    def announce(self, *operation_ids: str) -> None:
        """Tell log and worker of operations that are accepted, which is committed."""
        for operation_id in operation_ids:
            _log.info("operation_accepted", operation_id=operation_id)
        failpoint(Failpoint.ACCEPTED)
        self.doorbell.ring(operation_ids[0])


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def _actor(request: Request) -> str:
    actor: str = request.state.caller.actor
    return actor


#: who a change is recorded under: a key, or the same local user for everybody without one
ActorDep = Annotated[str, Depends(_actor)]


async def _report(services: ServicesDep, actor: ActorDep) -> AsyncIterator[Lane]:
    with services.budgets.reports.opened(actor):
        yield services.reporting


@dataclass(frozen=True)
class Download:
    """A file of all history that somebody fetches.

    Attributes:
        lane: Where it is made.
        after: What is done once the answer has ended, however it does.
    """

    lane: Lane
    after: ExitStack


async def _download(services: ServicesDep, actor: ActorDep) -> AsyncIterator[Download]:
    with services.budgets.downloads.opened(actor), ExitStack() as after:
        yield Download(services.reporting, after)


#: where a report on history is made; a caller may ask for few at a time
ReportDep = Annotated[Lane, Depends(_report)]
#: where a file of all history is made, which takes memory or disk until it was fetched
DownloadDep = Annotated[Download, Depends(_download)]
