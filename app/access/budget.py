"""What a caller may use in a minute."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.access.budget_store import Store
from app.errors import OverBudget, RateLimited

# The names that clients of OpenAI read, and the same for what only Errata counts.
_SHOWN_AS = {"edits": "Edits", "bytes of edits": "Edit-Bytes", "tokens": "Tokens"}
_HEADER = "X-RateLimit-{}-{}"

#: headers that tell what a caller has left of its budgets
RATE_LIMIT_HEADERS = tuple(
    _HEADER.format(what, unit)
    for what in ("Limit", "Remaining", "Reset")
    for unit in _SHOWN_AS.values()
)


@dataclass(frozen=True)
class Charge:
    """What was taken from a budget, and from which minute's.

    Attributes:
        left: What the caller has left of that minute; None where nothing was counted since.
    """

    caller: str
    amount: int
    minute: int
    left: int | None = None


@dataclass(frozen=True)
class Budget:
    """An amount that each caller has anew in every minute of the clock.

    Attributes:
        unit: What is counted, in the plural.
        per_minute: How many; 0 for any number.
        store: Where they are counted.
    """

    unit: str
    per_minute: int
    store: Store

    def charge(self, caller: str, amount: int, *, field: str, before: int = 0) -> Charge | None:
        """Take from what the caller has left; None where nothing is counted.

        Args:
            caller: Whose budget.
            amount: How much.
            field: The field of the request that says how much.
            before: How much the same request has taken before.

        Raises:
            OverBudget: No minute has that much.
            RateLimited: This minute has not that much left. What was asked for counts until this
                is raised, and may refuse another request of the caller meanwhile; then no more.
        """
        if not self.per_minute or not amount:
            return None
        if before + amount > self.per_minute:
            raise OverBudget(field, self.unit, before + amount, self.per_minute)
        minute, seconds_left = self.store.now()
        charge = Charge(caller, amount, minute)
        total = self._add(charge, amount)
        if total is None:
            return None
        if total > self.per_minute:
            self.give_back(charge, amount)
            left = max(0, self.per_minute - total + amount)
            raise RateLimited(
                f"of {self.per_minute} {self.unit} a minute {left} are left, "
                f"and this needs {amount}",
                retry_after_s=math.ceil(seconds_left),
                headers=self.headers(replace(charge, left=left)),
            )
        return replace(charge, left=self.per_minute - total)

    def give_back(self, charge: Charge, amount: int) -> Charge:
        """Return what was not used after all, to the minute it was taken from; what remains."""
        total = self._add(charge, -amount)
        left = None if total is None else max(0, self.per_minute - total)
        return replace(charge, amount=charge.amount - amount, left=left)

    def headers(self, charge: Charge | None) -> Mapping[str, str]:
        """What an answer tells of this budget after a charge; nothing where nothing is counted."""
        if charge is None or charge.left is None:
            return {}
        _, seconds_left = self.store.now()
        told = {
            "Limit": f"{self.per_minute}",
            "Remaining": f"{charge.left}",
            "Reset": f"{math.ceil(seconds_left)}s",
        }
        unit = _SHOWN_AS[self.unit]
        return {_HEADER.format(what, unit): value for what, value in told.items()}

    def _add(self, charge: Charge, amount: int) -> int | None:
        key = f"{self.unit}/{charge.caller}"
        return self.store.add(key, amount, minute=charge.minute)
