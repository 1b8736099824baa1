import json
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log, nan

import pytest

from app.errors import InvalidField
from app.facts.edit_report import FactReport, Said
from app.facts.gate_limits import Limits, WantedLimits
from app.settings import Settings
from app.worker.distance import Distance
from app.worker.effects import Effects
from app.worker.gates import GATES, Judgement, judge, judge_head
from app.worker.measuring import Measurement
from app.worker.surroundings import Surroundings
from editing_core.measures.probe import Score

LIMITS = Limits(
    delta_norm=1.0,
    target_said=1.0,
    target_p=0.5,
    neighbours_kept=0.5,
    relation_kept=0.5,
    essence_kept=0.25,
    subject_drift=0.05,
    siblings_kept=1.0,
    canaries_kept=0.5,
    earlier_kept=0.75,
    energy_drift=0.05,
    perplexity_ratio=1.5,
)
HARMLESS = Effects(
    not_finite=0,
    delta_norm=1.0,
    canaries_kept=0.5,
    earlier_kept=0.75,
    energy_drift=0.05,
    perplexity_ratio=1.5,
    perplexity=30.0,
)


def answer(argmax: str = "x", *, p: float = 0.5, said: float = 1.0) -> Score:
    return Score(logprob=log(p), rank=1, argmax=argmax, said=said)


UNDISTURBED = Surroundings(
    neighbours=(True, False), relation_kept=0.5, essence_kept=0.25, subject_drift=0.05
)


def fact(*, before: bool = True, after: bool = True) -> FactReport:
    return FactReport(
        edit="e", before=Said(p_target=0.5, match=before), after=Said(p_target=0.5, match=after)
    )


def judged(
    *,
    effects: Effects = HARMLESS,
    prompt: Score | None = None,
    around: Surroundings = UNDISTURBED,
    siblings: Sequence[FactReport] = (),
    limits: Limits = LIMITS,
) -> Judgement:
    after = Measurement(prompt or answer(), (), ())
    return judge(after, around, siblings, effects, limits)


def failed(judgement: Judgement) -> list[str]:
    return [gate.name for gate in judgement.gates if not gate.passed]


def test_what_is_just_allowed_passes() -> None:
    found = judged(prompt=answer(p=exp(log(0.5))), siblings=[fact()])
    assert (failed(found), found.reason) == ([], None)
    assert not found.blames_the_batch
    assert {gate.name for gate in found.gates} == set(GATES)


@pytest.mark.parametrize(
    ("effects", "gate", "reason"),
    [
        (replace(HARMLESS, not_finite=1), "not_finite", "gate_not_finite"),
        (replace(HARMLESS, delta_norm=1.01), "delta_norm", "gate_delta_too_large"),
        (replace(HARMLESS, canaries_kept=0.49), "canaries_kept", "gate_canaries_not_kept"),
        (replace(HARMLESS, earlier_kept=0.74), "earlier_kept", "gate_earlier_edits_not_kept"),
        (replace(HARMLESS, energy_drift=0.051), "energy_drift", "gate_energy_drifted"),
        (replace(HARMLESS, perplexity_ratio=1.6), "perplexity_ratio", "gate_perplexity_too_high"),
    ],
)
def test_harm_to_the_model_blames_the_batch(effects: Effects, gate: str, reason: str) -> None:
    found = judged(effects=effects)
    assert (failed(found), found.reason) == ([gate], reason)
    assert found.blames_the_batch
    shown = next(shown for shown in found.gates if shown.name == gate)
    assert shown.measured == getattr(effects, gate)
    assert shown.allowed == getattr(LIMITS, gate, 0)


@pytest.mark.parametrize(
    ("prompt", "gate"),
    [(answer(said=0.5), "target_said"), (answer(p=0.4), "target_p")],
)
def test_a_target_that_is_not_reached_is_the_edits_own_fault(prompt: Score, gate: str) -> None:
    found = judged(prompt=prompt)
    assert (failed(found), found.reason) == ([gate], "gate_target_not_reached")
    assert not found.blames_the_batch


@pytest.mark.parametrize(
    ("around", "gate", "reason"),
    [
        (
            replace(UNDISTURBED, neighbours=(True, False, False)),
            "neighbours_kept",
            "gate_neighbours_not_kept",
        ),
        (replace(UNDISTURBED, relation_kept=0.4), "relation_kept", "gate_relation_not_kept"),
        (replace(UNDISTURBED, essence_kept=0.2), "essence_kept", "gate_essence_not_kept"),
        (replace(UNDISTURBED, subject_drift=0.06), "subject_drift", "gate_subject_drifted"),
        (replace(UNDISTURBED, subject_drift=nan), "subject_drift", "gate_subject_drifted"),
    ],
)
def test_harm_around_an_edit_is_its_own_fault(around: Surroundings, gate: str, reason: str) -> None:
    found = judged(around=around)
    assert (failed(found), found.reason) == ([gate], reason)
    assert not found.blames_the_batch


@pytest.mark.parametrize(
    ("siblings", "share"),
    [
        ([fact(), fact(after=False)], 0.5),
        ([fact(after=False), fact(before=False)], 0.0),
        ([fact().model_copy(update={"after": None})], 0.0),
    ],
)
def test_a_fact_of_the_same_subject_is_not_lost(siblings: list[FactReport], share: float) -> None:
    found = judged(siblings=siblings)
    assert (failed(found), found.reason) == (["siblings_kept"], "gate_siblings_not_kept")
    assert [gate.measured for gate in found.gates if not gate.passed] == [share]


def test_where_there_is_nothing_to_keep_nothing_is_lost() -> None:
    alone = replace(UNDISTURBED, neighbours=(), subject_drift=None)
    unsaid = [fact(before=False, after=False)]
    found = judged(effects=replace(HARMLESS, earlier_kept=None), around=alone, siblings=unsaid)
    assert failed(found) == []
    unmeasured = [gate.name for gate in found.gates if gate.measured is None]
    assert unmeasured == ["neighbours_kept", "subject_drift", "siblings_kept", "earlier_kept"]


def test_what_is_no_number_fails_and_can_still_be_written_as_json() -> None:
    broken = replace(HARMLESS, not_finite=7, perplexity_ratio=nan, energy_drift=nan)
    found = judged(effects=broken, prompt=replace(answer(), logprob=nan))
    assert failed(found) == ["not_finite", "target_p", "energy_drift", "perplexity_ratio"]
    assert found.reason == "gate_not_finite"
    assert not found.is_finite
    json.dumps([gate.model_dump(mode="json") for gate in found.gates], allow_nan=False)


def test_the_first_failed_gate_is_the_reason() -> None:
    found = judged(effects=replace(HARMLESS, perplexity_ratio=9.0), prompt=answer(said=0.0))
    assert failed(found) == ["target_said", "perplexity_ratio"]
    assert found.reason == "gate_target_not_reached"
    assert found.blames_the_batch


def test_the_operators_limits_are_the_settings() -> None:
    settings = Settings(gate_canaries_kept=0.25, gate_energy_drift=0.125)
    limits = Limits.of(settings)
    assert (limits.canaries_kept, limits.energy_drift) == (0.25, 0.125)
    assert limits.model_dump() == {
        name: getattr(settings, f"gate_{name}") for name in WantedLimits.model_fields
    }


def test_a_request_only_makes_limits_stricter() -> None:
    wanted = WantedLimits(target_p=0.9, perplexity_ratio=1.1)
    LIMITS.refuse_looser(wanted)
    assert LIMITS.tightened(wanted.to_json()) == LIMITS.model_copy(
        update={"target_p": 0.9, "perplexity_ratio": 1.1}
    )
    assert LIMITS.tightened(None) == LIMITS


def test_a_limit_stored_before_the_operator_became_stricter_is_not_looser() -> None:
    assert LIMITS.tightened({"target_p": 0.1, "perplexity_ratio": 9.0}) == LIMITS


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (WantedLimits(target_p=0.4), "0.4 is looser than this service allows; give at least 0.5"),
        (WantedLimits(delta_norm=2), "2 is looser than this service allows; give at most 1"),
    ],
)
def test_a_looser_limit_is_refused_with_both_numbers(wanted: WantedLimits, says: str) -> None:
    with pytest.raises(InvalidField, match=says):
        LIMITS.refuse_looser(wanted)


_NEAR = Distance(canaries_kept=0.2, energy_drift=0.0515, perplexity_ratio=1.55)


def test_an_edit_may_pass_where_the_head_is_hardly_beyond_a_limit_or_not_known() -> None:
    assert judge_head(_NEAR, LIMITS).gates == ()
    assert judge_head(Distance(1.0, None, None), LIMITS).gates == ()
    assert judge_head(Distance(1.0, 0.0, 1.0), LIMITS).gates == ()


@pytest.mark.parametrize(
    ("distance", "name", "allowed", "reason"),
    [
        (replace(_NEAR, canaries_kept=0.15), "canaries_kept", 0.5, "gate_canaries_not_kept"),
        (replace(_NEAR, energy_drift=0.053), "energy_drift", 0.05, "gate_energy_drifted"),
        (replace(_NEAR, perplexity_ratio=1.6), "perplexity_ratio", 1.5, "gate_perplexity_too_high"),
    ],
)
def test_no_edit_passes_where_the_head_is_far_beyond_a_limit(
    distance: Distance, name: str, allowed: float, reason: str
) -> None:
    found = judge_head(distance, LIMITS)
    (gate,) = found.gates
    assert (gate.name, gate.allowed, gate.passed) == (name, allowed, False)
    assert gate.measured == getattr(distance, name)
    assert found.reason == reason
