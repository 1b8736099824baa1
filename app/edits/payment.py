"""What edits take from their caller's budgets, before their texts are read and stored."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.access.budget import Charge
from app.access.budgets import Budgets
from app.deps.services import Services
from app.errors import InvalidField, RateLimited, Refusal
from app.facts.text import EditText


@dataclass(frozen=True)
class Payment:
    """What was taken for some edits; None where nothing is counted."""

    budgets: Budgets
    edits: Charge | None
    bytes: Charge | None

    @contextmanager
    def unless_accepted(self) -> Iterator[None]:
        """Give back what was taken unless the edits are accepted.

        The bytes of what is refused were read, and stay charged; for what the service failed to do
        nothing is.
        """
        try:
            yield
        except (Refusal, RateLimited):
            self._give_back_edits()
            raise
        except Exception:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Return all of it, since nothing was accepted."""
        self._give_back_edits()
        if self.bytes is not None:
            self.budgets.edit_bytes.give_back(self.bytes, self.bytes.amount)

    @property
    def headers(self) -> Mapping[str, str]:
        """What an answer tells of both budgets."""
        edits, bytes = self.budgets.edits, self.budgets.edit_bytes
        return {**edits.headers(self.edits), **bytes.headers(self.bytes)}

    def _give_back_edits(self) -> None:
        if self.edits is not None:
            self.budgets.edits.give_back(self.edits, self.edits.amount)


@dataclass(frozen=True)
class Accepted:
    """What a request for edits became.

    Attributes:
        id: Of the edit, or of the batch.
        headers: What its answer tells of the caller's budgets; nothing of what was not paid again.
    """

    id: str
    headers: Mapping[str, str] = field(default_factory=dict)


def pay(services: Services, actor: str, texts: Sequence[EditText]) -> Payment:
    """Take what these edits cost.

    Raises:
        OverBudget: No minute has so many edits, or bytes.
        RateLimited: This minute has not so many left.
        StorageFull: There is too little free space for edits.
    """
    services.space.require()
    budgets = services.budgets
    edits = budgets.edits.charge(actor, len(texts), field="edits")
    size = sum(text.size for text in texts)
    try:
        return Payment(budgets, edits, budgets.edit_bytes.charge(actor, size, field="edits"))
    except (InvalidField, RateLimited):
        Payment(budgets, edits, None).give_back()
        raise
