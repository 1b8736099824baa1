"""What a revert was found to change: measured before the commit, stored with the operation."""

from pydantic import BaseModel, ConfigDict

from app.facts.edit_report import FactReport, GateReport


class RevertReport(BaseModel):
    """The facts of one subject before and after a revert; holds no words."""

    model_config = ConfigDict(frozen=True)

    undone: FactReport
    restored: FactReport | None = None
    """The fact's earlier edit, which the undone one had superseded."""
    siblings: list[FactReport] = []
    """The other facts of the subject that are live."""
    lost: list[str] = []
    """Edits of siblings that were said and would not be, or that cannot be asked any more."""
    solved_again: bool = False
    """Whether the facts that stay have new factors; else the weights of the subject are exact."""
    unsolvable: str | None = None
    """Why they could not be solved again, as a code."""
    gates: list[GateReport] = []
    """What their new factors had to pass."""
    refused: str | None = None
    """Why the revert is refused unless it is forced, as a code."""
