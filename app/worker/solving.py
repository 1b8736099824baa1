"""One batch of edits: solved on the head, and measured before anything is committed."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

from torch import Tensor
from transformers import PreTrainedModel

from app.facts.edit_report import EditReport, FactReport, LayerReport, PhaseSeconds
from app.kit.failpoints import Failpoint, failpoint
from app.resident.lineage import Change, Lineage
from app.resident.resident import Resident
from app.worker.effects import Candidate, EffectGauge, Effects
from app.worker.energies import Energies
from app.worker.energies import after as grams_after
from app.worker.gates import Judgement, judge
from app.worker.measuring import (
    Measurement,
    ask,
    first_report,
    measure,
    neighbour_reports,
    paraphrase_reports,
    said,
    warnings_of,
)
from app.worker.surroundings import Surroundings, Written
from app.worker.task import Request, Task
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.giving_way import GiveWay, go_on
from editing_core.measures.energy import RowGram
from editing_core.solution import Solution
from editing_core.values import Value


@dataclass(frozen=True)
class SolvedBatch:
    """A solution that is not committed: no reader sees these weights.

    Attributes:
        requests: The edits, in order of ``seq``.
        solution: Delta and how it came about.
        change: From the head to the matrices with the delta and without the superseded edits.
        after: What these matrices say of each edit.
        around: What each edit leaves as it was.
        siblings: Subject → its other live facts, as the head and these matrices say them.
        effects: What they do besides.
        grams: Layer → row Gram matrix of the head, and of these matrices.
        seconds_measuring: Wall time of all measurements.
    """

    requests: tuple[Request, ...]
    solution: Solution
    change: Change
    after: tuple[Measurement, ...]
    around: tuple[Surroundings, ...]
    siblings: Mapping[str, Sequence[FactReport]]
    effects: Effects
    grams: Mapping[int, tuple[RowGram, RowGram]]
    seconds_measuring: float

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """The gates of each edit."""
        return tuple(
            judge(
                after,
                around,
                self.siblings.get(request.edit.subject, ()),
                self.effects,
                request.limits,
            )
            for request, after, around in zip(self.requests, self.after, self.around, strict=True)
        )


@dataclass(frozen=True)
class Solver:
    """Solves tasks on the head, and measures what came of them; nothing is changed.

    Attributes:
        energies: Those of the head.
        between: Called between two steps; may end the computation.
    """

    lineage: Lineage
    resident: Resident
    editor: Callable[[], Editor]
    energies: Energies
    gauge: EffectGauge
    between: GiveWay = go_on

    def solve(
        self, task: Task, beside: Sequence[Edit], values: Sequence[Value] | None = None
    ) -> SolvedBatch:
        """Solve a task's edits together on the head without what they supersede.

        Args:
            task: The edits.
            beside: Live edits of their subjects, which stay true: the new values suit them, too,
                so their remembered keys need not, and must not, hold the old values fast.
            values: Those of the edits, where they were found before on the same weights.

        Raises:
            EditingError: The batch cannot be solved.
        """
        removed = [edit.supersedes for edit in task.requests if edit.supersedes is not None]
        start = self.lineage.without(removed)
        failpoint(Failpoint.SOLVING)
        before = self.resident.matrices(self.resident.newest)
        renewed = [*removed, *(edit.id for edit in beside)]
        editor = self.editor()
        remembers = editor.remembers(task.method)
        solution = editor.solve(
            self.resident.shadow(start.edited.matrices if start.removed else before),
            [request.edit for request in task.requests],
            method=task.method,
            past_keys=self.lineage.past_keys(leaving_out=renewed) if remembers else None,
            beside=beside,
            values=values,
        )
        self.between()
        failpoint(Failpoint.SOLVED)
        change = replace(start, edited=start.edited.changed(solution.delta))
        return self._measured(task, beside, solution, before, change)

    def _measured(
        self,
        task: Task,
        beside: Sequence[Edit],
        solution: Solution,
        before: Mapping[int, Tensor],
        change: Change,
    ) -> SolvedBatch:
        """The batch, with what the changed model says; ``before`` are the head's matrices."""
        started = perf_counter()
        after = change.edited.matrices
        shadow = self.resident.shadow(after)
        texts = [request.text for request in task.requests]
        measured = measure(shadow, self.resident.tokenizer, texts, self.between)
        self.between()
        written = [
            Written(request.text.as_edited(), request.before, found)
            for request, found in zip(task.requests, measured, strict=True)
        ]
        around = self.gauge.around(shadow, written, self.between)
        self.between()
        grams = self._grams(solution, before, change)
        self.between()
        candidate = Candidate(
            model=shadow,
            before=before,
            after=after,
            energies={layer: gram.energy for layer, (_, gram) in grams.items()},
            logprobs=[score.logprob for found in measured for score in found.scores],
            removed=change.removed,
            beside=beside,
        )
        return SolvedBatch(
            requests=task.requests,
            solution=solution,
            change=change,
            after=tuple(measured),
            around=around,
            siblings=_siblings(beside, self.resident, shadow),
            effects=self.gauge.measure(candidate),
            grams=grams,
            seconds_measuring=perf_counter() - started,
        )

    def _grams(
        self, solution: Solution, before: Mapping[int, Tensor], change: Change
    ) -> dict[int, tuple[RowGram, RowGram]]:
        """Layer → row Gram matrix of the head, and of the changed matrices."""
        grams = self.energies.of(self.lineage.head_state.revision, before)
        if change.removed:
            after = change.edited.matrices
            changed = {layer: RowGram.of(weight) for layer, weight in after.items()}
        else:
            changed = grams_after(grams, before, solution.delta)
        return {layer: (grams[layer], gram) for layer, gram in changed.items()}


def _siblings(
    beside: Sequence[Edit], resident: Resident, shadow: PreTrainedModel
) -> dict[str, list[FactReport]]:
    with resident.view() as head:
        before = ask(head.model, resident.tokenizer, beside)
    after, found = ask(shadow, resident.tokenizer, beside), defaultdict[str, list[FactReport]](list)
    for fact in beside:
        report = FactReport(edit=fact.id, before=before[fact.id], after=after[fact.id])
        found[fact.subject].append(report)
    return found


def edit_report(batch: SolvedBatch, index: int, seconds_storing: float = 0.0) -> EditReport:
    """The numbers of one edit of a solved batch."""
    request, after = batch.requests[index], batch.after[index]
    solved, seconds = batch.solution.reports[index], batch.solution.seconds
    judgement = batch.judgements[index]
    if not judgement.is_finite:  # JSON has no word for the rest
        return EditReport(before=request.before.standing, gates=list(judgement.gates))
    layers = [
        LayerReport(
            layer=found.layer,
            delta_norm=found.delta_norm,
            achieved_fraction=found.achieved_fraction,
            energy_before=batch.grams[found.layer][0].energy,
            energy_after=batch.grams[found.layer][1].energy,
        )
        for found in solved.layers
    ]
    return EditReport(
        before=request.before.standing,
        after=after.standing,
        paraphrases=paraphrase_reports(request.text, request.before, after),
        neighbours=neighbour_reports(request.text, batch.around[index].neighbours),
        layers=layers,
        gates=list(judgement.gates),
        siblings=_siblings_of(batch, index),
        value_steps=solved.value_steps,
        value_loss=solved.value_loss,
        seconds=PhaseSeconds(
            values=seconds.values,
            keys=seconds.keys,
            solve=seconds.solve,
            projection=seconds.projection,
            gates=batch.seconds_measuring,
            commit=seconds_storing,
        ),
        warnings=warnings_of(request.text, after),
        first_in_text=first_report(request.before, after),
    )


def _siblings_of(batch: SolvedBatch, index: int) -> list[FactReport]:
    """The facts that share an edit's subject: those beside it, and those solved with it."""
    own = batch.requests[index]
    together = [
        FactReport(edit=request.id, before=said(request.before.prompt), after=said(measured.prompt))
        for request, measured in zip(batch.requests, batch.after, strict=True)
        if request.edit.subject == own.edit.subject and request.id != own.id
    ]
    return [*batch.siblings.get(own.edit.subject, ()), *together]
