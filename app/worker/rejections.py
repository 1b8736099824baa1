"""Why edits are rejected: each with its own reason, or with that of the batch it must share."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from app.facts.edit_report import EditReport
from app.worker.solving import SolvedBatch, edit_report
from app.worker.task import BATCH_REJECTED, Rejection, Request, Task
from editing_core.edit import check_target
from editing_core.errors import EditingError, InvalidEdit


def gated(batch: SolvedBatch, indices: Sequence[int]) -> list[Rejection]:
    """These edits of a batch, by the first gate each failed, with all gates in the report.

    One that failed none is among them for the others' sake.
    """
    return [
        Rejection(
            batch.requests[index].id,
            batch.judgements[index].reason or BATCH_REJECTED,
            edit_report(batch, index),
        )
        for index in indices
    ]


def unsolvable(
    task: Task, error: EditingError, tokenizer: PreTrainedTokenizerBase
) -> list[Rejection]:
    """All edits of a task that cannot be solved.

    Where single edits can be told to be at fault, the others are rejected for their sake only.
    """
    unsayable = [request.id for request in task.requests if not _can_be_said(tokenizer, request)]
    guilty = {*error.edits, *unsayable}
    return [
        Rejection(
            request.id,
            code_of(error) if request.id in guilty or not guilty else BATCH_REJECTED,
            EditReport(before=request.before.standing, error=str(error)),
        )
        for request in task.requests
    ]


def _can_be_said(tokenizer: PreTrainedTokenizerBase, request: Request) -> bool:
    try:
        check_target(tokenizer, request.edit)
    except InvalidEdit:
        return False
    return True


def code_of(error: Exception) -> str:
    """``non_finite`` for ``NonFinite``."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
