"""Edits that need not be solved: the head has exceeded a limit of theirs already."""

from dataclasses import dataclass

from app.database.database import Database
from app.facts.edit_report import EditReport, GateReport
from app.facts.revision_report import RevisionReport
from app.operations.revisions import get
from app.worker.distance import Distance
from app.worker.effects import EffectGauge
from app.worker.gates import Judgement, judge_head
from app.worker.task import Rejection, Request, Task

_SENTENCE = (
    "the head itself has {name} {measured:.4g}, and this edit is allowed {side} {allowed:.4g}: an "
    "edit hardly gives back so much, so it was not solved. Have it solved all the same with "
    '"force": true, allow more ("gates" of the edit, or ERRATA_GATE_{setting}), or roll back to a '
    "revision nearer to the base"
)


@dataclass(frozen=True)
class Headroom:
    """What the gates that add up over all history leave to edits of the head."""

    database: Database
    gauge: EffectGauge

    def rejections(self, task: Task, head: int) -> list[Rejection]:
        """The edits of a task that would fail whatever is solved.

        Not where something is superseded: what goes with it may be what is too much.
        """
        if any(request.supersedes is not None for request in task.requests):
            return []
        asked = [request for request in task.requests if not request.force]
        if not asked:
            return []
        distance = self._distance(head)
        judged = [(request, judge_head(distance, request.limits)) for request in asked]
        return task.with_others([_rejection(*one) for one in judged if one[1].reason is not None])

    def _distance(self, head: int) -> Distance:
        with self.database.read() as session:
            report = get(session, head).report
        return self.gauge.distance(RevisionReport.model_validate(report))


def _rejection(request: Request, judgement: Judgement) -> Rejection:
    gates = [*judgement.gates]
    told = EditReport(before=request.before.standing, error=_sentence(gates[0]), gates=gates)
    return Rejection(request.id, judgement.reason or gates[0].name, told)


def _sentence(gate: GateReport) -> str:
    return _SENTENCE.format(
        name=gate.name,
        measured=gate.measured,
        side="at least" if gate.name == "canaries_kept" else "at most",
        allowed=gate.allowed,
        setting=gate.name.upper(),
    )
