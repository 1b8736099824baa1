"""What a query takes from its caller's budgets: before the work, and back what it did not need."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from app.access.budget import Charge
from app.access.budgets import Budgets
from app.deps.services import ActorDep, ServicesDep
from app.query.answer import TokenUsage

T = TypeVar("T")


@dataclass
class Reservation:
    """What one request has reserved, and holds until its answer has ended.

    Tokens are taken before the work that costs them: as many as a text may have at most before it
    is tokenised, and those of the longest answer. What was not needed is given back.

    Attributes:
        budgets: What it takes from.
        caller: Whose they are.
        headers: Those of the answer that tell what the caller has left.
    """

    budgets: Budgets
    caller: str
    headers: MutableHeaders = field(default_factory=MutableHeaders)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _charges: list[Charge] = field(default_factory=list)
    _usages: list[TokenUsage] = field(default_factory=list)

    async def take(self, tokens: int, field: str) -> None:
        """Have so many tokens taken for what is still to come.

        Args:
            tokens: How many it may need at most.
            field: The field of the request that says how many that is.

        Raises:
            OverBudget: No caller has so many in a minute.
            RateLimited: The caller has not so many left.
        """
        missing = tokens - self._unspent
        if missing > 0:
            charge = partial(
                self.budgets.tokens.charge,
                self.caller,
                missing,
                field=field,
                before=self._taken,
            )
            taken = await run_in_threadpool(charge)
            self._charges += [] if taken is None else [taken]
            self._tell(taken)

    async def need_no_more_than(self, tokens: int) -> None:
        """Give back at once what was taken beyond so many tokens still to come."""
        surplus = self._unspent - tokens
        while surplus > 0:
            charge = self._charges.pop()
            amount = min(surplus, charge.amount)
            left = await run_in_threadpool(self.budgets.tokens.give_back, charge, amount)
            if left.amount:
                self._charges.append(left)
            self._tell(left)
            surplus -= amount

    def usage(self) -> TokenUsage:
        """A new account of tokens, which is held against what was taken."""
        self._usages.append(TokenUsage())
        return self._usages[-1]

    def stream(self) -> None:
        """Hold a stream open.

        Raises:
            RateLimited: So many are open already.
        """
        self._held.enter_context(self.budgets.streams.opened(self.caller))

    async def hold(self, found: AbstractAsyncContextManager[T]) -> T:
        """What a context gives, until the answer has ended or `release` is called."""
        return await self._held.enter_async_context(found)

    async def release(self) -> None:
        """Let go of everything that is held."""
        held, self._held = self._held, AsyncExitStack()
        await held.aclose()

    async def close(self) -> None:
        """Let go of everything, and give back every token that was not used."""
        await self.release()
        await self.need_no_more_than(0)

    def _tell(self, charge: Charge | None) -> None:
        self.headers.update(self.budgets.tokens.headers(charge))

    @property
    def _taken(self) -> int:
        return sum(charge.amount for charge in self._charges)

    @property
    def _unspent(self) -> int:
        return self._taken - sum(usage.cost for usage in self._usages)


async def _reservation(
    services: ServicesDep, actor: ActorDep, response: Response
) -> AsyncIterator[Reservation]:
    # Ended by FastAPI after the answer, however that ended: a client that left, an error, too.
    reservation = Reservation(services.budgets, actor, response.headers)
    try:
        yield reservation
    finally:
        await reservation.close()


ReservationDep = Annotated[Reservation, Depends(_reservation)]
