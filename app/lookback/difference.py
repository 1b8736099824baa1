"""What separates two revisions: facts, weights, and what either makes of the facts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Event

from app.database.tables.revisions import Revision
from app.deps.services import Services
from app.errors import ClientGone
from app.facts.lengths import Lengths
from app.facts.revision_report import RevisionReport
from app.kit.lane import Lane
from app.kit.paging import fitting, json_size
from app.ledger.artefacts import ArtefactStore
from app.lookback.facts import DifferingFacts, differing_facts
from app.lookback.schemas import (
    Difference,
    Fact,
    FactCounts,
    LayerDifference,
    ProbedFact,
    SupersededFact,
)
from app.operations.live import LiveEdit
from app.query.reservation import Reservation
from app.query.schemas import ProbeItem, ProbeRequest
from app.query.service import QueryService
from app.resident.factors import read_factors
from editing_core.measures.difference import Difference as FactorDifference


@dataclass(frozen=True)
class Extent:
    """How much of a difference is told.

    Attributes:
        facts: Most facts listed of each kind.
        probes: Most targets probed.
    """

    facts: int
    probes: int


class Report:
    """Tells what separates revisions.

    Args:
        services: Has the facts and factors.
        query: Asks the model.
        lane: Where what grows with history is read.
        reservation: Who pays for what the model is asked.
    """

    def __init__(
        self, services: Services, query: QueryService, lane: Lane, reservation: Reservation
    ) -> None:
        self._services, self._query = services, query
        self._lane, self._reservation = lane, reservation

    async def difference(self, first: Revision, last: Revision, extent: Extent) -> Difference:
        """What leads from the first revision to the last, whichever of them is older.

        Raises:
            CorruptArtefact: The factors of an edit that differs are missing or were altered.
            RateLimited: The caller has not enough tokens left for the probes.
        """
        find = partial(_facts, self._services, first.number, last.number)
        facts = await self._lane.run(lambda _: find())
        norms = await self._lane.run(partial(_norms, self._services.artefacts, facts))
        energy_from, energy_to = _energies(first), _energies(last)
        asked = await self._lane.run(lambda _: self._asked(facts, extent.probes))
        listed = _listed(facts, extent.facts)
        return Difference(
            from_=first.number,
            to=last.number,
            same_weights=first.weights_digest == last.weights_digest,
            counts=FactCounts(
                added=len(facts.added),
                removed=len(facts.removed),
                superseded=len(facts.superseded),
                resolved=len(facts.resolved),
            ),
            added=listed.added,
            removed=listed.removed,
            superseded=listed.superseded,
            facts_cut=listed.is_cut,
            layers=[
                LayerDifference(
                    layer=layer,
                    delta_norm=norms.get(layer, 0.0),
                    energy_from=energy,
                    energy_to=energy_to[layer],
                )
                for layer, energy in energy_from.items()
            ],
            probes=await self._probed(asked, first.number, last.number),
            probes_cut=len(asked) < len(facts.gone) + len(facts.new) + len(facts.resolved),
        )

    def _asked(self, facts: DifferingFacts, most: int) -> list[tuple[str, ProbeItem]]:
        """Edit id and probe of the newest edits that still have words, up to so many."""
        max_chars = self._services.settings.max_prompt_chars
        askable = _askable(facts, self._services.lengths.get())
        short = ((id, item) for id, item in askable if len(item.prompt) <= max_chars)
        return list(islice(short, most))

    async def _probed(
        self, asked: Sequence[tuple[str, ProbeItem]], first: int, last: int
    ) -> list[ProbedFact]:
        if not asked:
            return []
        request = ProbeRequest(items=[item for _, item in asked], revisions=[first, last])
        answer = await self._query.probe(request, 0, self._reservation)
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


@dataclass(frozen=True)
class _Listed:
    """The facts of a difference that fit into an answer."""

    added: list[Fact]
    removed: list[Fact]
    superseded: list[SupersededFact]
    is_cut: bool


def _listed(facts: DifferingFacts, most: int) -> _Listed:
    added, _ = fitting(map(_fact, facts.added[:most]), json_size)
    removed, _ = fitting(map(_fact, facts.removed[:most]), json_size)
    pairs = (
        SupersededFact(before=_fact(before), after=_fact(after))
        for before, after in facts.superseded[:most]
    )
    superseded, _ = fitting(pairs, json_size)
    listed = (len(added), len(removed), len(superseded))
    there = (len(facts.added), len(facts.removed), len(facts.superseded))
    return _Listed(added, removed, superseded, is_cut=listed != there)


def _facts(services: Services, first: int, last: int) -> DifferingFacts:
    with services.database.read() as session:
        return differing_facts(session, first, last)


def _norms(artefacts: ArtefactStore, facts: DifferingFacts, stop: Event) -> Mapping[int, float]:
    total = FactorDifference()
    new = [*facts.new, *(after for _, after in facts.resolved)]
    gone = [*facts.gone, *(before for before, _ in facts.resolved)]
    for edits, count in ((new, total.add), (gone, total.subtract)):
        for delta in read_factors(artefacts, edits):
            if stop.is_set():
                raise ClientGone
            count(delta)
    return total.norms()


def _energies(revision: Revision) -> dict[int, float | None]:
    """Layer → energy, as recorded."""
    report = RevisionReport.model_validate(revision.report)
    return {found.layer: found.energy for found in report.layers}


def _askable(facts: DifferingFacts, lengths: Lengths) -> Iterator[tuple[str, ProbeItem]]:
    """Edit id and probe of all edits that still have words, the newest first."""
    resolved = (edit for edit, _ in facts.resolved)
    edits = sorted((*facts.gone, *facts.new, *resolved), key=lambda edit: edit.seq, reverse=True)
    for edit in edits:
        if edit.text is not None:
            asked = lengths.statement(edit.text)
            yield (
                edit.edit_id,
                ProbeItem.model_validate(asked._replace(separator=asked.between)._asdict()),
            )


def _fact(edit: LiveEdit) -> Fact:
    text = edit.text
    return Fact(
        edit=edit.edit_id,
        seq=edit.seq,
        subject=None if text is None else text.subject,
        prompt=None if text is None else text.prompt,
        target=None if text is None else text.target,
    )
