"""`Prefer: wait=N` (RFC 7240): keep a request waiting until its operation has ended."""

import asyncio
import re
import time
from typing import Annotated

from fastapi import Depends, Header
from starlette.concurrency import run_in_threadpool

from app.operations import repository
from app.services import Services, ServicesDep

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?=$|[,;\s])", re.IGNORECASE)
_LOOK_EVERY_S = 0.05


async def _wait_s(services: ServicesDep, prefer: Annotated[str, Header()] = "") -> float:
    found = _WAIT.search(prefer)
    return min(float(found[1]), services.settings.max_wait_s) if found else 0.0


#: how long the client wants to be kept waiting, within what the settings allow
WaitDep = Annotated[float, Depends(_wait_s)]


async def has_ended(services: Services, operation_id: str, wait_s: float) -> bool:
    """Wait for an operation's end, at most `wait_s`; whether it came."""
    deadline = time.monotonic() + wait_s
    while not await run_in_threadpool(_ended, services, operation_id):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _ended(services: Services, operation_id: str) -> bool:
    with services.database.read() as session:
        return repository.get(session, operation_id).status not in repository.UNFINISHED
