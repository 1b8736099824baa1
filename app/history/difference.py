"""What separates two revisions: facts, weights, and what either makes of the facts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool

from app.history.facts import DifferingFacts, differing_facts
from app.history.schemas import (
    Difference,
    Fact,
    FactCounts,
    LayerDifference,
    ProbedFact,
    SupersededFact,
)
from app.query.schemas import ProbeItem, ProbeRequest
from app.query.service import QueryService
from app.resident.factors import read_factors
from app.resident.resident import Resident
from app.revisions.artefacts import ArtefactStore
from app.revisions.models import Revision
from app.revisions.report import RevisionReport, number_or_none
from app.revisions.repository import LiveEdit
from app.services import Services
from app.serving import Serving
from editing_core.difference import Difference as FactorDifference
from editing_core.energy import hyperspherical_energy


@dataclass(frozen=True)
class Extent:
    """How much of a difference is told.

    Attributes:
        facts: Most facts listed of each kind.
        probes: Most targets probed.
    """

    facts: int
    probes: int


async def difference(
    services: Services, serving: Serving, first: Revision, last: Revision, extent: Extent
) -> Difference:
    """What leads from the first revision to the last, whichever of them is older.

    Raises:
        CorruptArtefact: The factors of an edit that differs are missing or were altered.
    """
    facts = await run_in_threadpool(_facts, services, first.number, last.number)
    norms = await run_in_threadpool(_norms, services.artefacts, facts)
    energy_from, energy_to = await _energies(serving, first), await _energies(serving, last)
    askable = _askable(facts, services.settings.max_prompt_chars)
    asked = askable[: extent.probes]
    return Difference(
        from_=first.number,
        to=last.number,
        same_weights=first.weights_digest == last.weights_digest,
        counts=FactCounts(
            added=len(facts.added), removed=len(facts.removed), superseded=len(facts.superseded)
        ),
        added=[_fact(edit) for edit in facts.added[: extent.facts]],
        removed=[_fact(edit) for edit in facts.removed[: extent.facts]],
        superseded=[
            SupersededFact(before=_fact(before), after=_fact(after))
            for before, after in facts.superseded[: extent.facts]
        ],
        facts_cut=max(len(facts.added), len(facts.removed), len(facts.superseded)) > extent.facts,
        layers=[
            LayerDifference(
                layer=layer,
                delta_norm=norms.get(layer, 0.0),
                energy_from=energy,
                energy_to=energy_to[layer],
            )
            for layer, energy in energy_from.items()
        ],
        probes=await _probed(serving.query, asked, first.number, last.number),
        probes_cut=len(asked) < len(facts.gone) + len(facts.new),
    )


def _facts(services: Services, first: int, last: int) -> DifferingFacts:
    with services.database.read() as session:
        return differing_facts(session, first, last)


def _norms(artefacts: ArtefactStore, facts: DifferingFacts) -> Mapping[int, float]:
    total = FactorDifference()
    for delta in read_factors(artefacts, facts.new):
        total.add(delta)
    for delta in read_factors(artefacts, facts.gone):
        total.subtract(delta)
    return total.norms()


async def _energies(serving: Serving, revision: Revision) -> dict[int, float | None]:
    """Layer → energy: as it was recorded, or measured now if the revision is older than that."""
    if revision.report is not None:
        report = RevisionReport.model_validate(revision.report)
        return {found.layer: found.energy for found in report.layers}
    resident = serving.runtime.resident
    return await serving.thread.run(partial(_measured_energies, resident, revision.number))


def _measured_energies(resident: Resident, revision: int) -> dict[int, float | None]:
    with resident.view(revision) as view:
        matrices = resident.matrices(view)
    return {
        layer: number_or_none(hyperspherical_energy(weight)) for layer, weight in matrices.items()
    }


def _askable(facts: DifferingFacts, max_chars: int) -> list[tuple[str, ProbeItem]]:
    """Edit id and probe of all edits that still have words, the newest first."""
    edits = sorted((*facts.gone, *facts.new), key=lambda edit: edit.seq, reverse=True)
    items = [(edit.edit_id, item) for edit, item in _items(edits)]
    return [(id, item) for id, item in items if len(item.prompt) <= max_chars]


def _items(edits: Iterable[LiveEdit]) -> Iterable[tuple[LiveEdit, ProbeItem]]:
    for edit in edits:
        if edit.text is not None:
            prompt = edit.text.filled
            yield edit, ProbeItem(prompt=prompt, target=edit.text.target)


async def _probed(
    query: QueryService, asked: Sequence[tuple[str, ProbeItem]], first: int, last: int
) -> list[ProbedFact]:
    if not asked:
        return []
    request = ProbeRequest(items=[item for _, item in asked], revisions=[first, last])
    answer = await query.probe(request, min_revision=0)
    return [
        ProbedFact(
            edit=id,
            prompt=result.prompt,
            target=result.target,
            from_=result.revisions[str(first)],
            to=result.revisions[str(last)],
        )
        for (id, _), result in zip(asked, answer.results, strict=True)
    ]


def _fact(edit: LiveEdit) -> Fact:
    text = edit.text
    return Fact(
        edit=edit.edit_id,
        seq=edit.seq,
        subject=None if text is None else text.subject,
        prompt=None if text is None else text.prompt,
        target=None if text is None else text.target,
    )
