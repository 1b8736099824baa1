"""Gates: the checks a delta must pass before it may be committed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from app.facts.edit_report import FactReport, GateReport
from app.facts.gate_limits import Limits
from app.worker.distance import Distance
from app.worker.effects import Effects
from app.worker.measuring import Measurement
from app.worker.surroundings import Surroundings

# gate → why an edit that fails it is rejected
_REASONS = {
    "not_finite": "gate_not_finite",
    "delta_norm": "gate_delta_too_large",
    "target_said": "gate_target_not_reached",
    "target_p": "gate_target_not_reached",
    "neighbours_kept": "gate_neighbours_not_kept",
    "relation_kept": "gate_relation_not_kept",
    "essence_kept": "gate_essence_not_kept",
    "subject_drift": "gate_subject_drifted",
    "siblings_kept": "gate_siblings_not_kept",
    "canaries_kept": "gate_canaries_not_kept",
    "earlier_kept": "gate_earlier_edits_not_kept",
    "energy_drift": "gate_energy_drifted",
    "perplexity_ratio": "gate_perplexity_too_high",
}
#: every gate by its name
GATES = tuple(_REASONS)
# What these say is the edit's own doing; the others measure all of a batch at once.
_OF_ONE_EDIT = frozenset(
    {
        "target_said",
        "target_p",
        "neighbours_kept",
        "relation_kept",
        "essence_kept",
        "subject_drift",
        "siblings_kept",
    }
)

# What one edit may give back of what the head has lost: a share, a share, and a factor. It was
# never seen to give so much (docs/gates.md).
_CANARIES_BACK, _ENERGY_BACK, _PERPLEXITY_BACK = 0.34, 0.002, 1.05


@dataclass(frozen=True)
class Judgement:
    """Every gate an edit came to, passed or not, in the order they count."""

    gates: tuple[GateReport, ...]

    @property
    def reason(self) -> str | None:
        """Why the edit must be rejected, by the first gate that it failed; None if it may pass."""
        return next((_REASONS[gate.name] for gate in self.gates if not gate.passed), None)

    @property
    def blames_the_batch(self) -> bool:
        """Whether a gate failed that other edits of the batch may have failed for it."""
        return any(not gate.passed and gate.name not in _OF_ONE_EDIT for gate in self.gates)

    @property
    def is_finite(self) -> bool:
        """Whether all that was measured are numbers."""
        return all(gate.passed for gate in self.gates if gate.name == "not_finite")


def judge(
    after: Measurement,
    around: Surroundings,
    siblings: Sequence[FactReport],
    effects: Effects,
    limits: Limits,
) -> Judgement:
    """Hold what was measured against the limits.

    Args:
        after: What the model says with the edit's batch.
        around: What the edit leaves as it was.
        siblings: The other live facts of its subject.
        effects: What the batch does besides.
        limits: What this edit is held to.
    """
    said, p = after.prompt.said, after.prompt.p
    size, reach = _size(effects, limits), _reach(effects, limits)
    return Judgement(
        (
            *size,
            _at_least("target_said", said, limits.target_said),
            _at_least("target_p", p, limits.target_p),
            _at_least("neighbours_kept", around.neighbours_kept, limits.neighbours_kept),
            _at_least("relation_kept", around.relation_kept, limits.relation_kept),
            _at_least("essence_kept", around.essence_kept, limits.essence_kept),
            _at_most("subject_drift", around.subject_drift, limits.subject_drift),
            _at_least("siblings_kept", _share_kept(siblings), limits.siblings_kept),
            *reach,
        )
    )


def judge_batch(effects: Effects, limits: Limits) -> Judgement:
    """Hold what a batch does besides against the limits, whatever its facts are."""
    return Judgement((*_size(effects, limits), *_reach(effects, limits)))


def judge_head(distance: Distance, limits: Limits) -> Judgement:
    """The cumulative gates that the head exceeds by more than one edit can restore."""
    kept, drift, ratio = distance.canaries_kept, distance.energy_drift, distance.perplexity_ratio
    fewest, most = limits.canaries_kept, limits.energy_drift
    highest = limits.perplexity_ratio
    told = [
        ("canaries_kept", kept, fewest, kept + _CANARIES_BACK >= fewest),
        ("energy_drift", drift, most, drift is None or drift - _ENERGY_BACK <= most),
        ("perplexity_ratio", ratio, highest, ratio is None or ratio / _PERPLEXITY_BACK <= highest),
    ]
    return Judgement(tuple(_gate(*one) for one in told if not one[-1]))


def _size(effects: Effects, limits: Limits) -> tuple[GateReport, ...]:
    return (
        _at_most("not_finite", effects.not_finite, 0),
        _at_most("delta_norm", effects.delta_norm, limits.delta_norm),
    )


def _reach(effects: Effects, limits: Limits) -> tuple[GateReport, ...]:
    return (
        _at_least("canaries_kept", effects.canaries_kept, limits.canaries_kept),
        _at_least("earlier_kept", effects.earlier_kept, limits.earlier_kept),
        _at_most("energy_drift", effects.energy_drift, limits.energy_drift),
        _at_most("perplexity_ratio", effects.perplexity_ratio, limits.perplexity_ratio),
    )


def _share_kept(facts: Sequence[FactReport]) -> float | None:
    """The share of facts, said before, that are still said; None where none was."""
    held = [fact.after for fact in facts if fact.before is not None and fact.before.match]
    return sum(said is not None and said.match for said in held) / len(held) if held else None


def _at_most(name: str, measured: float | None, allowed: float) -> GateReport:
    passed = measured is None or measured <= allowed  # NaN is no pass
    return _gate(name, measured, allowed, passed)


def _at_least(name: str, measured: float | None, allowed: float) -> GateReport:
    return _gate(name, measured, allowed, measured is None or measured >= allowed)


def _gate(name: str, measured: float | None, allowed: float, passed: bool) -> GateReport:
    shown = None if measured is None or not isfinite(measured) else measured
    return GateReport(name=name, measured=shown, allowed=allowed, passed=passed)
