"""Whether the process lives, and whether it can do its work."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.errors import NotReady, Unavailable
from app.keys.access import DoorkeeperDep
from app.operations.repository import count_unfinished
from app.problems import common_responses
from app.services import ServicesDep
from app.serving import ServingDep

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Everything is there: model, database and queue."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ready"] = "ready"
    model: str
    revision: int
    waiting: int
    access: Annotated[
        Literal["keys", "open"],
        Field(description="Open: no API key was ever made, so nobody needs one."),
    ]


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive; says nothing of the model."""
    return Health()


@router.get("/readyz", responses=common_responses(503))
def readyz(services: ServicesDep, serving: ServingDep, doorkeeper: DoorkeeperDep) -> Readiness:
    """The model is loaded, its head verified, database and queue answer; else 503 says why not."""
    reasons = []
    for check in (serving.get, services.database.ping, services.doorbell.ping):
        try:
            check()
        except Unavailable as error:
            reasons.append(error.message)
    if reasons:
        raise NotReady("; ".join(reasons))
    resident = serving.get().runtime.resident
    with services.database.read() as session:
        waiting = count_unfinished(session)
    return Readiness(
        model=resident.name,
        revision=resident.head,
        waiting=waiting,
        access="open" if doorkeeper.is_open else "keys",
    )
