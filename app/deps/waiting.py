"""`Prefer: wait=N` (RFC 7240): keep a request waiting until its operation has ended."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from app.access.places import Places
from app.deps.services import ActorDep, ServicesDep
from app.errors import RateLimited
from app.http.disconnect import while_connected
from app.operations.endings import Endings

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?=$|[,;\s])", re.IGNORECASE)


@dataclass(frozen=True)
class Wait:
    """How long a client wants to be kept waiting, and where it may.

    Attributes:
        seconds: Within what the settings allow; 0 where it does not want to.
        caller: Who asks.
        places: How many of each caller, and of all, are kept waiting.
        endings: Tells of ends.
        request: Whose client may leave.
    """

    seconds: float
    caller: str
    places: Places
    endings: Endings
    request: Request

    async def sees_end_of(self, operation_id: str) -> bool:
        """Wait for an operation's end; whether it came. Where no place is free, it does not wait.

        Raises:
            ClientGone: The client left.
        """
        if not self.seconds:
            return False
        try:
            with self.places.opened(self.caller):
                ending = self.endings.has_come(operation_id, self.seconds)
                return await while_connected(self.request, ending)
        except RateLimited:
            return False


async def _wait(
    request: Request, services: ServicesDep, actor: ActorDep, prefer: Annotated[str, Header()] = ""
) -> Wait:
    found = _WAIT.search(prefer)
    seconds = min(float(found[1]), services.settings.max_wait_s) if found else 0.0
    endings: Endings = request.state.endings
    return Wait(seconds, actor, services.budgets.waiters, endings, request)


WaitDep = Annotated[Wait, Depends(_wait)]
