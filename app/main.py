"""Puts the service together."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

import app.audit.endpoints as ledger
import app.docs.endpoints as docs
import app.edits.batch_endpoints as batches
import app.edits.endpoints as edits
import app.events.endpoints as events
import app.exports.endpoints as exports
import app.keys.endpoints as keys
import app.lookback.endpoints as lookback
import app.lookback.question_endpoints as questions
import app.pausing.endpoints as pausing
import app.query.endpoints as query
import app.revisions.endpoints as revisions
import app.revisions.label_endpoints as snapshots
import app.revisions.operation_endpoints as operations
from app import health
from app.access.authentication import Authentication
from app.access.budget import RATE_LIMIT_HEADERS
from app.access.budgets import Budgets
from app.access.doorkeeper import Doorkeeper, check_guarded
from app.access.refusals import Refusals
from app.deps.services import Services
from app.docs.description import Describe, Description, tell_scopes
from app.errors import QueueUnavailable, Unavailable
from app.events.hub import Hub
from app.exports.exporter import Exporter
from app.http import problems
from app.http.body_limit import BodyLimit, BodyLimits
from app.http.connections import ConnectionLimits, Connections
from app.http.cross_origin import CrossOrigin
from app.http.head_requests import HeadRequests
from app.http.parameters import only_known_parameters
from app.http.security_headers import SecurityHeaders
from app.http.tracing import telemetry
from app.http.watch import RequestWatch
from app.kit.clock import Clock, IdFactory, new_id, utc_now
from app.kit.lane import Shared
from app.kit.logs import get_logger
from app.kit.pending import Part, Pending
from app.kit.stopping import MODEL_STOP_S
from app.ledger.artefacts import ArtefactStore
from app.ledger.opening import open_database
from app.ledger.schemas import LedgerVerdict
from app.metrics.metrics import Metrics
from app.metrics.mirrored import mirrored
from app.operations.endings import Endings
from app.operations.purging import Purger
from app.operations.room import Room
from app.query.service import QueryService
from app.queue.doorbell import Doorbell
from app.queue.embedded import EmbeddedValkey
from app.queue.memory_doorbell import MemoryDoorbell
from app.queue.redis_doorbell import RedisAddress, RedisDoorbell
from app.revisions.label_endpoints import TakeSnapshot
from app.settings import Settings
from app.startup import Loader, Runtime, Serving, StartRuntime
from app.worker import start as runtime
from editing_core.methods import method_named
from editing_core.progress import Progress, silent

_log = get_logger(__name__)


def start_worker(
    services: Services, *, progress: Progress = silent, at_once: float = runtime.AT_ONCE
) -> Runtime:
    """Load the model, bring it to the ledger's head and start its worker.

    Args:
        services: What it works with.
        progress: Told of long steps.
        at_once: Multiplications to prepare edits that it waits for; more are done in the
            background.

    Raises:
        UnknownMethod: No update rule has the name that the settings give.
        EditingError: The model cannot be loaded or edited.
        Inconsistent: What is stored belongs to another model, or was altered.
    """
    method_named(services.settings.method)
    return runtime.start(
        services.settings,
        services.database,
        services.doorbell,
        services.artefacts,
        clock=services.clock,
        progress=progress,
        give_way=services.readers.give_way,
        metrics=services.metrics,
        at_once=at_once,
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
    query: Part[Serving, QueryService]
    snapshots: Part[Serving, TakeSnapshot]
    exporter: Part[Serving, Exporter]
    doorkeeper: Doorkeeper
    hub: Hub
    refusals: Refusals
    endings: Endings
    verification: Shared[LedgerVerdict]
    connections: Connections
    description: Description
    vitals: health.Vitals


class _Api(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Everything that answers, the handler of bugs among it, inside of the security headers."""
        return SecurityHeaders(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        """The API's description, with the schema of problem documents that routers refer to."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        _, definitions = models_json_schema(
            [(problems.Problem, "serialization")], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        tell_scopes(document)
        return document


def create_app(settings: Settings, *, components: Components | None = None) -> FastAPI:
    """The service for one set of settings; several may live in one process."""
    chosen, metrics = components or Components(), Metrics()

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[State]:
        with ExitStack() as stack:
            services = await run_in_threadpool(open_services, settings, chosen, stack, metrics)
            state = await run_in_threadpool(_start, services, chosen, stack, api.openapi)
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
        openapi_url=None,  # FastAPI works it out on the event loop
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
    )
    api.add_middleware(BodyLimit, limits=BodyLimits.of(settings))
    # The outer one: a stranger's body is not even read.
    api.add_middleware(Authentication, hosts=settings.hosts)
    api.add_middleware(HeadRequests)
    if settings.cors_origins:
        # A browser asks what it may send without the key that it is to be sent with.
        api.add_middleware(CrossOrigin, origins=settings.cors_origins, readable=RATE_LIMIT_HEADERS)
    api.add_middleware(RequestWatch, metrics=metrics)
    problems.install(api)
    api.include_router(health.router)
    api.include_router(docs.router)
    strangers = problems.common_responses(401, 403)
    for feature in (
        edits,
        batches,
        events,
        revisions,
        snapshots,
        lookback,
        operations,
        pausing,
        ledger,
        keys,
        exports,
    ):
        strict = [] if feature is events else [only_known_parameters]
        api.include_router(feature.router, responses=strangers, dependencies=strict)
    for router in (query.router, health.metrics_router):
        api.include_router(router, responses=strangers)
    for router in (query.probe_router, questions.compare_router, questions.bisect_router):
        api.include_router(router, responses=strangers, dependencies=[only_known_parameters])
    return api


def open_services(
    settings: Settings, components: Components, stack: ExitStack, metrics: Metrics | None = None
) -> Services:
    """Open database, queue and artefacts, in the order in which one needs the other.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        SetBack: It lacks what was committed here.
        ForeignFolder: The data directory belongs to somebody else.
    """
    database = open_database(settings, components.clock)
    stack.callback(database.close)
    purger = Purger(database, components.clock)
    stack.callback(purger.stop)
    purger.start()
    doorbell = _open_doorbell(settings, stack)
    counted = metrics or Metrics()
    stack.enter_context(mirrored(counted.registry, database, components.clock))
    budgets = Budgets.open(settings, components.clock, stack)
    counted.tell_of_queue(partial(_takes_rings, doorbell), lambda: budgets.are_counted)
    services = Services(
        settings=settings,
        database=database,
        doorbell=doorbell,
        artefacts=ArtefactStore(settings.data_dir / "artefacts"),
        clock=components.clock,
        new_id=components.new_id,
        metrics=counted,
        budgets=budgets,
        room=Room(settings.queued_per_caller),
    )
    stack.callback(services.verifying.close)
    stack.callback(services.reporting.close)
    return services


def _start(
    services: Services, components: Components, stack: ExitStack, describe: Describe
) -> State:
    """Start everything below HTTP; the model is loaded in the background.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        Unguarded: Others could reach the service, and there is no API key.
    """
    settings = services.settings
    check_guarded(settings, services.database, services.clock())
    doorkeeper = Doorkeeper(settings, services.database, services.clock)
    stack.callback(doorkeeper.close)
    loader = Loader(services, components.start_runtime)
    stack.callback(loader.stop, MODEL_STOP_S)
    loader.start()
    hub = Hub(services.database, max_listeners=settings.max_listeners)
    return State(
        services=services,
        serving=loader.serving,
        query=loader.serving.part(lambda it: it.query),
        snapshots=loader.serving.part(lambda it: it.runtime.take_snapshot),
        exporter=loader.serving.part(lambda it: it.exporter),
        doorkeeper=doorkeeper,
        hub=hub,
        refusals=Refusals(services.metrics),
        endings=Endings(services.database),
        verification=ledger.verification(services),
        connections=Connections(ConnectionLimits.of(settings), services.metrics),
        description=Description(describe),
        vitals=health.Vitals(loader.serving, services.database, services.doorbell, doorkeeper),
    )


def _takes_rings(doorbell: Doorbell) -> bool:
    try:
        doorbell.ping()
    except Unavailable:
        return False
    return True


def _open_doorbell(settings: Settings, stack: ExitStack) -> Doorbell:
    doorbell: Doorbell
    if not settings.has_shared_queue:
        doorbell = MemoryDoorbell()
    elif settings.redis_url is not None:
        doorbell = RedisDoorbell(RedisAddress(url=settings.redis_url))
    else:
        valkey = EmbeddedValkey(settings.data_dir, binary=settings.queue_server)
        stack.callback(valkey.stop)
        try:
            valkey.start()
        except QueueUnavailable as error:
            # The worker also looks by itself, and the doorbell keeps trying to start the server.
            _log.warning("queue_not_started", error=str(error))
        doorbell = RedisDoorbell(valkey.address, revive=valkey.start)
    stack.callback(doorbell.close)
    return doorbell
