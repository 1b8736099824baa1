"""The numbers that are stored with each edit of a solved batch."""

from app.facts.edit_report import EditReport, FactReport, LayerReport, PhaseSeconds
from app.worker.measuring import (
    first_report,
    neighbour_reports,
    paraphrase_reports,
    said,
    warnings_of,
)
from app.worker.solving import SolvedBatch


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
