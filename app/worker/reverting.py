"""Reverts, computed and measured before anything is committed.

Where the factors that stay are all that their subject had in an earlier revision, they say what
they said there. Else the facts that stay are solved again, together, on the head without any of
the subject's: what is left of a shared value suits none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from app.database.database import Database
from app.facts.edit_report import FactReport, Said
from app.facts.gate_limits import Limits
from app.facts.placements import Placement
from app.facts.revert_report import RevertReport
from app.facts.subjects import MOST_FACTS
from app.operations.kin import Kin, KinEdit, kin_of
from app.operations.live import LiveEdit
from app.resident.lineage import Change, Lineage
from app.resident.resident import Resident
from app.worker.effects import Candidate, EffectGauge
from app.worker.gates import Judgement, judge_batch
from app.worker.measuring import ask
from app.worker.rejections import code_of
from app.worker.task import core_edit
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.errors import EditingError, NonFinite
from editing_core.measures.energy import RowGram
from editing_core.methods import method_named
from editing_core.solution import Solution

#: why a revert is refused, unless it is forced
SIBLINGS_LOST = "siblings_lost"


@dataclass(frozen=True)
class Undoing:
    """A revert that is not committed.

    Attributes:
        change: What it changes.
        grams: Row Gram matrices of the edited matrices as they would be.
        solution: How the facts that stay were solved again, if they were.
        report: What was measured.
    """

    change: Change
    grams: Mapping[int, RowGram]
    solution: Solution | None
    report: RevertReport

    def placed(self, artefact: str) -> Change:
        """The change, once the new factors are in an artefact."""
        solved = () if self.solution is None else self.solution.delta.edits
        factors = {id: Placement(id, artefact, row) for row, id in enumerate(solved)}
        return replace(self.change, factors=factors)


@dataclass(frozen=True)
class Reverter:
    """Computes reverts on the head.

    Attributes:
        limits: What the gates allow new factors.
    """

    database: Database
    lineage: Lineage
    resident: Resident
    editor: Callable[[], Editor]
    gauge: EffectGauge
    limits: Limits

    def undo(self, edit_id: str, *, restore: bool) -> Undoing:
        """The head without a live edit, and with what it superseded if that is wanted."""
        with self.database.read() as session:
            kin = kin_of(session, edit_id, restore=restore)
        if kin.is_exact:
            found = self._removed(kin)
            if not found.report.lost:
                return found
        unsolvable = _unsolvable(kin)
        if unsolvable is None:
            try:
                return self._solved_again(kin)
            except EditingError as error:
                unsolvable = code_of(error)
        return self._removed(kin, unsolvable)

    def _removed(self, kin: Kin, unsolvable: str | None = None) -> Undoing:
        """The edit's factors go, those of its predecessor come back, and all others stay."""
        restoring = []
        if kin.restored is not None and kin.factors is not None:
            place = kin.factors
            restoring = [LiveEdit(kin.restored.id, 0, place.artefact, place.row)]
        change = self.lineage.without([kin.undone.id], restoring)
        return self._measured(kin, change, None, unsolvable)

    def _solved_again(self, kin: Kin) -> Undoing:
        gone = [kin.undone.id, *(edit.id for edit in kin.siblings)]
        start = self.lineage.without(gone)
        method = kin.staying[0].method
        editor = self.editor()
        remembers = editor.remembers(method)
        solution = editor.solve(
            self.resident.shadow(start.edited.matrices),
            _facts(kin.staying),
            method=method,
            past_keys=self.lineage.past_keys(leaving_out=gone) if remembers else None,
            thorough=True,
        )
        change = Change(
            start.edited.changed(solution.delta),
            removed=(kin.undone.id,),
            restored=() if kin.restored is None else (kin.restored.id,),
        )
        return self._measured(kin, change, solution, None)

    def _measured(
        self, kin: Kin, change: Change, solution: Solution | None, unsolvable: str | None
    ) -> Undoing:
        matrices = change.edited.matrices
        grams = {layer: RowGram.of(weight) for layer, weight in matrices.items()}
        facts, judgement = self._asked(kin, matrices), Judgement(())
        if solution is not None:
            judgement = self._judged(kin, matrices, grams)
            _require_numbers(judgement, facts)
        is_exact = solution is None and unsolvable is None
        siblings = [facts[edit.id] for edit in kin.siblings]
        lost = _lost(kin, facts, self.limits, is_exact=is_exact)
        report = RevertReport(
            undone=facts[kin.undone.id],
            restored=None if kin.restored is None else facts[kin.restored.id],
            siblings=siblings,
            lost=lost,
            solved_again=solution is not None,
            unsolvable=unsolvable,
            gates=list(judgement.gates),
            refused=SIBLINGS_LOST if lost else judgement.reason,
        )
        return Undoing(change, grams, solution, report)

    def _asked(self, kin: Kin, matrices: Mapping[int, Tensor]) -> dict[str, FactReport]:
        """Edit id → the fact under the head, and under these matrices."""
        asked = _facts([kin.undone, *kin.staying])
        model, tokenizer = self.resident.shadow(matrices), self.resident.tokenizer
        with self.resident.view() as head:
            before = ask(head.model, tokenizer, asked)
        after = ask(model, tokenizer, asked)
        return {
            edit.id: FactReport(edit=edit.id, before=before.get(edit.id), after=after.get(edit.id))
            for edit in (kin.undone, *kin.staying)
        }

    def _judged(
        self, kin: Kin, matrices: Mapping[int, Tensor], grams: Mapping[int, RowGram]
    ) -> Judgement:
        """The gates of what is written anew."""
        candidate = Candidate(
            model=self.resident.shadow(matrices),
            before=self.resident.matrices(self.resident.newest),
            after=matrices,
            energies={layer: gram.energy for layer, gram in grams.items()},
            logprobs=[],
            removed=[kin.undone.id],
            beside=_facts(kin.siblings),
        )
        return judge_batch(self.gauge.measure(candidate), self.limits)


def _require_numbers(judgement: Judgement, facts: Mapping[str, FactReport]) -> None:
    """Let only numbers pass, whatever is forced.

    Raises:
        NonFinite: Something else was written or measured.
    """
    told = [found.after.p_target for found in facts.values() if found.after is not None]
    if not judgement.is_finite or None in told:
        raise NonFinite("what the facts that stay were given holds what is no number")


def _lost(
    kin: Kin, facts: Mapping[str, FactReport], limits: Limits, *, is_exact: bool
) -> list[str]:
    """Edits whose facts would not hold as before.

    Where the subject has what it had in an earlier revision, one that cannot be asked is as it was.
    """
    lost = [edit.id for edit in kin.siblings if facts[edit.id].is_lost]
    if is_exact:
        return [id for id in lost if facts[id].after is not None]
    if kin.restored is not None and not _is_said(facts[kin.restored.id].after, limits):
        lost.append(kin.restored.id)
    return lost


def _unsolvable(kin: Kin) -> str | None:
    """Why the facts that stay cannot be solved again, as a code; None if they may be."""
    methods = {edit.method for edit in kin.staying}
    if any(edit.text is None for edit in kin.staying):
        return "erased"
    if len(methods) > 1:
        return "methods_differ"
    if len(kin.staying) > MOST_FACTS:
        return "subject_full"
    if len(kin.staying) > 1 and not method_named(methods.pop()).separable:
        return "not_separable"  # later they could not be undone one by one
    return None


def _facts(kin: Sequence[KinEdit]) -> list[Edit]:
    return [core_edit(edit.id, edit.text) for edit in kin if edit.text is not None]


def _is_said(found: Said | None, limits: Limits) -> bool:
    """Whether a fact that comes back is said, where edits must be."""
    return limits.target_said < 1 or (found is not None and found.match)
