"""Puts the service together."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

import app.batches.endpoints as batches
import app.edits.endpoints as edits
import app.events.endpoints as events
import app.exports.endpoints as exports
import app.history.endpoints as history
import app.keys.endpoints as keys
import app.ledger.endpoints as ledger
import app.observability.endpoints as observability
import app.operations.endpoints as operations
import app.query.endpoints as query
import app.revisions.endpoints as revisions
import app.snapshots.endpoints as snapshots
from app import health, problems
from app.body_limit import BodyLimit
from app.budgets.budgets import Budgets
from app.clock import Clock, IdFactory, new_id, utc_now
from app.database.database import Database
from app.database.migration import upgrade
from app.errors import QueueUnavailable
from app.events.hub import Hub
from app.keys.authentication import Authentication
from app.keys.doorkeeper import Doorkeeper, check_guarded
from app.lane import Shared
from app.ledger.schemas import LedgerVerdict
from app.observability.http import RequestWatch
from app.observability.logs import get_logger
from app.observability.metrics import Metrics
from app.observability.state import mirrored
from app.observability.tracing import telemetry
from app.operations.endings import Endings
from app.queue.embedded import EmbeddedValkey
from app.queue.redis_doorbell import RedisAddress, RedisDoorbell
from app.revisions.artefacts import ArtefactStore
from app.services import Pending, Services
from app.serving import Loader, Runtime, Serving, StartRuntime
from app.settings import Settings
from app.worker import runtime
from editing_core.methods import plan_named
from editing_core.progress import Progress, silent

_STOP_TIMEOUT_S = 5.0
_log = get_logger(__name__)


def start_worker(services: Services, *, progress: Progress = silent) -> Runtime:
    """Load the model, bring it to the ledger's head and start its worker.

    Raises:
        UnknownMethod: No update rule has the name that the settings give.
        EditingError: The model cannot be loaded or edited.
        Inconsistent: What is stored belongs to another model, or was altered.
    """
    plan_named(services.settings.method)
    return runtime.start(
        services.settings,
        services.database,
        services.doorbell,
        services.artefacts,
        clock=services.clock,
        progress=progress,
        give_way=services.readers.give_way,
        metrics=services.metrics,
    )


@dataclass(frozen=True)
class Components:
    """The parts of the service that a test may want to choose."""

    clock: Clock = utc_now
    new_id: IdFactory = new_id
    start_runtime: StartRuntime = start_worker


class State(TypedDict):
    """What the lifespan yields; requests see each key as an attribute of `request.state`."""

    services: Services
    serving: Pending[Serving]
    doorkeeper: Doorkeeper
    hub: Hub
    endings: Endings
    verification: Shared[LedgerVerdict]


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The API's description, with the schema of problem documents that routers refer to."""
        document = super().openapi()
        _, definitions = models_json_schema(
            [(problems.Problem, "serialization")], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        return document


def create_app(settings: Settings, *, components: Components | None = None) -> FastAPI:
    """The service for one set of settings; several may live in one process."""
    chosen, metrics = components or Components(), Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        with ExitStack() as stack:
            state = await run_in_threadpool(_start, settings, chosen, stack, metrics)
            try:
                async with state["hub"].following(), state["endings"].following():
                    yield state
            finally:
                await run_in_threadpool(stack.close)

    api = _Api(
        title="Errata",
        summary="Corrects facts in a language model that is already serving.",
        version="0.1.0",
        lifespan=lifespan,
        telemetry=telemetry(),
    )
    api.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    # The outer one: a stranger's body is not even read.
    api.add_middleware(Authentication)
    api.add_middleware(RequestWatch, metrics=metrics)
    problems.install(api)
    api.include_router(health.router)
    strangers = problems.common_responses(401, 403)
    for feature in (
        edits,
        batches,
        events,
        revisions,
        snapshots,
        history,
        operations,
        ledger,
        keys,
        observability,
        exports,
    ):
        api.include_router(feature.router, responses=strangers)
    for router in (query.router, query.bisect_router):
        api.include_router(router, responses=strangers)
    return api


def open_services(
    settings: Settings, components: Components, stack: ExitStack, metrics: Metrics | None = None
) -> Services:
    """Open database, queue and artefacts, in the order in which one needs the other.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    stack.callback(database.close)
    upgrade(database)
    doorbell = _open_doorbell(settings, stack)
    counted = metrics or Metrics()
    stack.enter_context(mirrored(counted.registry, database, components.clock))
    services = Services(
        settings=settings,
        database=database,
        doorbell=doorbell,
        artefacts=ArtefactStore(settings.data_dir / "artefacts"),
        clock=components.clock,
        new_id=components.new_id,
        metrics=counted,
        budgets=Budgets.open(settings, components.clock, stack),
    )
    stack.callback(services.verifying.close)
    stack.callback(services.reporting.close)
    return services


def _start(settings: Settings, components: Components, stack: ExitStack, metrics: Metrics) -> State:
    """Start everything below HTTP; the model is loaded in the background.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        Unguarded: Others could reach the service, and there is no API key.
    """
    services = open_services(settings, components, stack, metrics)
    check_guarded(settings, services.database, services.clock())
    doorkeeper = Doorkeeper(settings, services.database, services.clock)
    stack.callback(doorkeeper.close)
    loader = Loader(services, components.start_runtime)
    stack.callback(loader.stop, _STOP_TIMEOUT_S)
    loader.start()
    hub = Hub(services.database, max_listeners=settings.max_listeners)
    return State(
        services=services,
        serving=loader.serving,
        doorkeeper=doorkeeper,
        hub=hub,
        endings=Endings(services.database),
        verification=ledger.verification(services),
    )


def _open_doorbell(settings: Settings, stack: ExitStack) -> RedisDoorbell:
    if settings.redis_url is not None:
        doorbell = RedisDoorbell(RedisAddress(url=settings.redis_url))
    else:
        valkey = EmbeddedValkey(settings.data_dir)
        stack.callback(valkey.stop)
        try:
            valkey.start()
        except QueueUnavailable as error:
            # The worker also looks by itself, and the doorbell keeps trying to start the server.
            _log.warning("queue_not_started", error=str(error))
        doorbell = RedisDoorbell(valkey.address, revive=valkey.start)
    stack.callback(doorbell.close)
    return doorbell
