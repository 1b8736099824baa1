"""What the worker is to write in one run: edits, and how far they stand and fall together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from app.facts.edit_report import EditReport
from app.facts.gate_limits import Limits
from app.facts.revert_report import RevertReport
from app.facts.text import EditText
from app.worker.measuring import Measurement
from editing_core.edit import Edit

#: why an edit of an atomic batch is rejected that did nothing wrong itself
BATCH_REJECTED = "batch_rejected"


@dataclass(frozen=True)
class Request:
    """An edit that is to be solved.

    Attributes:
        id: The edit's id.
        text: Its words.
        before: What the head says around it.
        supersedes: The live edit of the same fact, whose factors and key go.
        limits: What its gates allow.
        force: Whether it is solved where it is true already, or can hardly pass.
    """

    id: str
    text: EditText
    before: Measurement
    supersedes: str | None
    limits: Limits
    force: bool

    @property
    def edit(self) -> Edit:
        """The request as the core takes it."""
        return core_edit(self.id, self.text)


def core_edit(id: str, text: EditText) -> Edit:
    """An edit as the core takes it."""
    return text.edit(id)


@dataclass(frozen=True)
class Rejection:
    """An edit or a revert that must change nothing.

    Attributes:
        id: Its operation's id.
        reason: A code: the ledger holds no text.
        report: What was measured.
    """

    id: str
    reason: str
    report: EditReport | RevertReport | None = None


@dataclass(frozen=True)
class Task:
    """Edits that are solved together.

    Attributes:
        requests: The edits, in order of ``seq``.
        method: How they are computed.
        atomic: Whether all are committed, or none.
        dry_run: Whether none is committed in any case.
    """

    requests: tuple[Request, ...]
    method: str
    atomic: bool
    dry_run: bool

    def without(self, ids: Collection[str]) -> "Task":
        """The task without these edits."""
        return replace(self, requests=tuple(r for r in self.requests if r.id not in ids))

    def with_others(self, rejected: Sequence[Rejection]) -> list[Rejection]:
        """Rejections of some of its edits; if it is atomic, of the others for their sake, too."""
        if not (self.atomic and rejected):
            return [*rejected]
        ids = {found.id for found in rejected}
        others = (request.id for request in self.requests if request.id not in ids)
        return [*rejected, *(Rejection(id, BATCH_REJECTED) for id in others)]
