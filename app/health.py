"""Whether the process lives, and whether it can do its work."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from app.access.doorkeeper import Doorkeeper
from app.access.require import DoorkeeperDep, require
from app.access.scopes import Scope
from app.database.database import Database
from app.deps.services import ServicesDep
from app.errors import ErrataError, NotReady, QueueFull, Unavailable
from app.http.problems import common_responses
from app.kit.pending import Pending
from app.kit.preparing import Preparation
from app.operations.queue_state import state
from app.operations.repository import count_unfinished
from app.queue.doorbell import Doorbell
from app.startup import Serving

_PATIENCE_S = 1.5  # less than a probe's own time-out

router = APIRouter(tags=["service"])
metrics_router = APIRouter(
    tags=["service"],
    # Who may read the whole ledger may read its numbers.
    dependencies=[require(Scope.METRICS, Scope.AUDIT)],
    responses=common_responses(503),
)


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["alive"] = "alive"


class Preparing(BaseModel):
    """What accepted edits wait for, and for how long."""

    model_config = ConfigDict(extra="forbid")

    step: str
    progress: Annotated[float, Field(ge=0, le=1, description="The part that is done.")]
    seconds_left: Annotated[
        int | None, Field(description="How long this step takes yet, at its pace so far.")
    ] = None


class Readiness(BaseModel):
    """Everything is there: model, database and queue. The rest is told to known callers only."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ready"] = "ready"
    model: str | None = None
    revision: int | None = None
    waiting: int | None = None
    queue: Annotated[
        Literal["running", "paused"] | None, Field(description="Whether edits are executed.")
    ] = None
    editing: Annotated[
        Literal["ready", "preparing"] | None,
        Field(
            description="Preparing: edits are accepted, and wait for what is collected once, at a "
            "first start. Absent where another process computes them."
        ),
    ] = None
    preparing: Preparing | None = None
    access: Annotated[
        Literal["keys", "open"] | None,
        Field(description="Open: no API key was ever made, so nobody needs one."),
    ] = None
    impaired: Annotated[
        list[str] | None, Field(description="What works less well until somebody looks.")
    ] = None


@dataclass(frozen=True)
class _Finding:
    """What one look at the service found.

    Attributes:
        readiness: All that is told of a service which is ready.
        missing: Why it is not, where it is not.
    """

    readiness: Readiness
    missing: Sequence[str] = ()


class Vitals:
    """Looks at model, database and queue, once at a time however many ask.

    It has a connection of its own: a service that is busy is ready all the same.
    """

    def __init__(
        self,
        serving: Pending[Serving],
        database: Database,
        doorbell: Doorbell,
        doorkeeper: Doorkeeper,
    ) -> None:
        self._serving, self._doorbell, self._doorkeeper = serving, doorbell, doorkeeper
        self._reader = database.reader(1)
        self._looking: asyncio.Task[_Finding] | None = None

    async def find(self) -> _Finding:
        """What is found now; what does not answer soon counts as missing."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        done, _ = await asyncio.wait({self._looking}, timeout=_PATIENCE_S)
        if done:
            return self._looking.result()
        return _Finding(Readiness(), ["the database or the queue does not answer in time"])

    def _look(self) -> _Finding:
        missing, impaired = list[str](), list[str]()
        for check in (self._serving.get, self._reader.ping, self._doorbell.ping):
            try:
                check()
            except QueueFull as error:
                impaired.append(str(error))
            except Unavailable as error:
                missing.append(str(error))
        return _Finding(Readiness(), missing) if missing else self._described(impaired)

    def _described(self, impaired: list[str]) -> _Finding:
        runtime = self._serving.get().runtime
        resident, preparation = runtime.resident, runtime.preparation
        if preparation is not None and preparation.error is not None:
            return _Finding(Readiness(), [f"edits cannot be computed: {preparation.error}"])
        try:
            with self._reader.read() as session:
                waiting = count_unfinished(session)
                is_paused = state(session).paused_at is not None
            access = "open" if self._doorkeeper.is_open else "keys"
        except Unavailable as error:
            return _Finding(Readiness(), [str(error)])
        return _Finding(
            Readiness(
                model=resident.name,
                revision=resident.head,
                waiting=waiting,
                queue="paused" if is_paused else "running",
                editing=None if preparation is None else _state(preparation),
                preparing=None if preparation is None else _outlook(preparation),
                access=access,
                impaired=impaired or None,
            )
        )


def _state(preparation: Preparation[Any]) -> Literal["ready", "preparing"]:
    return "ready" if preparation.is_ready else "preparing"


def _outlook(preparation: Preparation[Any]) -> Preparing | None:
    found = preparation.outlook
    if found is None or preparation.is_ready:
        return None
    left = found.seconds_left
    return Preparing(
        step=found.step,
        progress=round(found.progress, 3),
        seconds_left=None if left is None else round(left),
    )


async def _is_known(request: Request, doorkeeper: DoorkeeperDep) -> bool:
    """Whether somebody asks who may know more, as far as that is found out soon."""
    header = request.headers.get("Authorization")
    with suppress(ErrataError, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await doorkeeper.admit_async(header)
            return True
    return False


async def _vitals(request: Request) -> Vitals:
    vitals: Vitals = request.state.vitals
    return vitals


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive; says nothing of the model."""
    return Health()


@router.get("/readyz", responses=common_responses(503), response_model_exclude_none=True)
async def readyz(
    vitals: Annotated[Vitals, Depends(_vitals)], is_known: Annotated[bool, Depends(_is_known)]
) -> Readiness:
    """The model is loaded, its head verified, database and queue answer; else 503.

    At a first start, edits are accepted before they can be computed: `editing` tells.
    Strangers learn no more than that; a caller with a key, whatever its scopes, learns why.
    """
    found = await vitals.find()
    if found.missing:
        raise NotReady("; ".join(found.missing) if is_known else "something it needs is missing")
    return found.readiness if is_known else Readiness()


@metrics_router.get("/metrics", response_class=Response)
def metrics(services: ServicesDep) -> Response:
    """Every series in Prometheus' text format; answers without a model, too."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
