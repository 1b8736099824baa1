"""One batch of edits: what is asked, what is there already, and the solution with its numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

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
from editing_core.weights.delta import Weights


@dataclass(frozen=True)
class SolvedBatch:
    """A solution that is not committed: no reader sees these weights.

    Attributes:
        requests: The edits, in order of ``seq``.
        solution: Delta and how it came about.
        removed: Ids of the edits that are superseded.
        weights: The edited matrices with the delta and without the superseded edits.
        after: What these weights say of each edit.
        around: What each edit leaves as it was.
        siblings: Subject → its other live facts, as the head and these weights say them.
        effects: What they do besides.
        grams: Layer → row Gram matrix of the head, and of ``weights``.
        seconds_measuring: Wall time of all measurements.
    """

    requests: tuple[Request, ...]
    solution: Solution
    removed: tuple[str, ...]
    weights: Weights
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


def solve_batch(
    task: Task,
    *,
    beside: Sequence[Edit],
    lineage: Lineage,
    resident: Resident,
    editor: Editor,
    energies: Energies,
    gauge: EffectGauge,
    values: Sequence[Value] | None = None,
    between: GiveWay = go_on,
) -> SolvedBatch:
    """Solve a task's edits together on the head without what they supersede.

    ``beside`` are live edits of their subjects, which stay true: the new values suit them, too,
    so their remembered keys need not, and must not, hold the old values fast. ``values`` are those
    of the edits, where they were found before on the same weights; ``between`` is called between
    two steps, and may end it.

    Raises:
        EditingError: The batch cannot be solved; nothing was changed.
    """
    removed = [edit.supersedes for edit in task.requests if edit.supersedes is not None]
    start: Change = lineage.without(removed)
    failpoint(Failpoint.SOLVING)
    renewed = [*removed, *(edit.id for edit in beside)]
    solution = editor.solve(
        resident.shadow(start.weights.materialise()),
        [request.edit for request in task.requests],
        method=task.method,
        past_keys=lineage.past_keys(leaving_out=renewed) if editor.remembers(task.method) else None,
        beside=beside,
        values=values,
    )
    between()
    failpoint(Failpoint.SOLVED)
    weights = start.weights.changed(add=[solution.delta])
    started = perf_counter()
    before, after = lineage.head_state.weights.materialise(), weights.materialise()
    shadow = resident.shadow(after)
    texts = [request.text for request in task.requests]
    measured = measure(shadow, resident.tokenizer, texts, between)
    between()
    around = gauge.around(
        shadow,
        [
            Written(request.text.as_edited(), request.before, found)
            for request, found in zip(task.requests, measured, strict=True)
        ],
        between,
    )
    between()
    grams = energies.of(lineage.head_state.revision, before)
    if start.removed:
        changed = {layer: RowGram.of(weight) for layer, weight in after.items()}
    else:
        changed = grams_after(grams, before, solution.delta)
    between()
    candidate = Candidate(
        model=shadow,
        before=before,
        after=after,
        energies={layer: gram.energy for layer, gram in changed.items()},
        logprobs=[score.logprob for found in measured for score in found.scores],
        removed=start.removed,
        beside=beside,
    )
    return SolvedBatch(
        requests=task.requests,
        solution=solution,
        removed=start.removed,
        weights=weights,
        after=tuple(measured),
        around=around,
        siblings=_siblings(beside, resident, shadow),
        effects=gauge.measure(candidate),
        grams={layer: (grams[layer], changed[layer]) for layer in after},
        seconds_measuring=perf_counter() - started,
    )


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


def _siblings_of(batch: SolvedBatch, index: int) -> list[FactReport]:
    """The facts that share an edit's subject: those beside it, and those solved with it."""
    own = batch.requests[index]
    together = [
        FactReport(edit=request.id, before=said(request.before.prompt), after=said(measured.prompt))
        for request, measured in zip(batch.requests, batch.after, strict=True)
        if request.edit.subject == own.edit.subject and request.id != own.id
    ]
    return [*batch.siblings.get(own.edit.subject, ()), *together]


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
