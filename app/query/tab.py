"""What a query takes from its caller's budgets while it is answered."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.concurrency import run_in_threadpool

from app.budgets.budget import Charge
from app.budgets.budgets import Budgets
from app.query.answer import Tally
from app.services import ActorDep, ServicesDep


class Counted(Protocol):
    """An answer whose tokens are counted."""

    @property
    def tally(self) -> Tally:
        """What there is of it."""

    @property
    def most_tokens(self) -> int:
        """How many tokens may be generated for it."""


@dataclass
class Tab:
    """The open bill of one request.

    Tokens are taken for the longest answer beforehand; what was not generated is given back.
    """

    budgets: Budgets
    caller: str
    _streams: ExitStack = field(default_factory=ExitStack)
    _charge: Charge | None = None
    _tallies: list[Tally] = field(default_factory=list)

    async def open(self, answer: Counted, *, stream: bool | None) -> None:
        """Take what one answer may need.

        Raises:
            OverBudget: No caller has so many tokens in a minute.
            RateLimited: The caller has not so many left, or too many streams are open.
        """
        if stream:
            self._streams.enter_context(self.budgets.streams.opened(self.caller))
        await self.reserve(answer.most_tokens, "max_tokens")
        self.count(answer.tally)

    async def reserve(self, tokens: int, field: str) -> None:
        """Take as many tokens as may be generated; the field says how many that is.

        Raises:
            OverBudget: No caller has so many in a minute.
            RateLimited: The caller has not so many left.
        """
        charge = partial(self.budgets.tokens.charge, self.caller, tokens, field=field)
        self._charge = await run_in_threadpool(charge)

    def count(self, tally: Tally) -> None:
        """Hold what is generated against what was taken."""
        self._tallies.append(tally)

    async def close(self) -> None:
        """Close the stream, and give back every token that was not generated."""
        self._streams.close()
        if self._charge is None:
            return
        unused = self._charge.amount - sum(tally.written for tally in self._tallies)
        if unused > 0:
            await run_in_threadpool(self.budgets.tokens.give_back, self._charge, unused)


async def _tab(services: ServicesDep, actor: ActorDep) -> AsyncIterator[Tab]:
    # Ended by FastAPI after the answer, however that ended: a client that left, an error, too.
    tab = Tab(services.budgets, actor)
    try:
        yield tab
    finally:
        await tab.close()


TabDep = Annotated[Tab, Depends(_tab)]
