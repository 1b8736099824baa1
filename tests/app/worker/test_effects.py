"""What a delta does besides, measured on a tiny model with known changes of its weights."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from torch import Tensor
from torch.nn import Module

from app.database.tables.edits import EditStatus
from app.edits.service import erase
from app.kit.clock import utc_now
from app.worker.effects import Candidate, EffectGauge, Effects
from editing_core.contexts import chat_context
from editing_core.measures.energy import hyperspherical_energy
from tests.support.waiting import wait_until
from tests.support.worker_service import WAIT_S, Service


@pytest.fixture
def gauge(service: Service) -> EffectGauge:
    return EffectGauge(service.lineage, service.resident, earlier_sample=4, perplexity_tokens=32)


def _candidate(
    service: Service,
    after: Mapping[int, Tensor],
    *,
    logprobs: tuple[float, ...] = (-1.0,),
    removed: Collection[str] = (),
) -> Candidate:
    return Candidate(
        model=service.resident.shadow(after),
        before=service.lineage.base,
        after=after,
        energies={layer: hyperspherical_energy(weight) for layer, weight in after.items()},
        logprobs=logprobs,
        removed=removed,
    )


def test_the_base_itself_has_no_effects(service: Service, gauge: EffectGauge) -> None:
    assert gauge.measure(_candidate(service, service.lineage.base)) == Effects(
        not_finite=0,
        delta_norm=0.0,
        canaries_kept=1.0,
        earlier_kept=None,
        energy_drift=0.0,
        perplexity_ratio=1.0,
        perplexity=gauge.perplexity(service.lineage.base),
    )


def test_the_largest_change_of_any_matrix_counts(service: Service, gauge: EffectGauge) -> None:
    changed = dict(service.lineage.base)
    first, *_, last = sorted(changed)
    changed[first] = changed[first] * 1.25
    changed[last] = changed[last] * 0.5
    found = gauge.measure(_candidate(service, changed))
    assert found.delta_norm == pytest.approx(0.5)
    assert found.energy_drift == pytest.approx(0.0, abs=1e-9)  # directions are as they were


def test_a_ruined_model_loses_canaries_perplexity_and_energy(
    service: Service, gauge: EffectGauge
) -> None:
    ruined = {layer: weight.abs() * 30 for layer, weight in service.lineage.base.items()}
    found = gauge.measure(_candidate(service, ruined))
    assert found.canaries_kept < 0.5
    assert found.perplexity_ratio > 1.5
    assert found.energy_drift > 0.05


def test_every_entry_and_score_that_is_no_number_is_counted(
    service: Service, gauge: EffectGauge
) -> None:
    broken = {layer: weight.clone() for layer, weight in service.lineage.base.items()}
    next(iter(broken.values()))[0, :3] = float("inf")
    found = gauge.measure(_candidate(service, broken, logprobs=(-1.0, float("nan"))))
    assert found.not_finite == 4
    assert isnan(found.perplexity_ratio)
    assert not found.delta_norm <= 1e9


def test_an_earlier_edit_that_is_undone_is_not_kept(service: Service, gauge: EffectGauge) -> None:
    known = {"subject": "France", "prompt": "{} is a part of", "target": "France"}
    id = service.submit(**known, method="ft")  # takes hold even in a random model
    assert service.ended(id).status is EditStatus.COMMITTED
    wait_until(lambda: list(service.lineage.head_state.live) == [id], WAIT_S, what="the new head")
    head = service.lineage.head_state.weights.materialise()
    ruined = {layer: -weight for layer, weight in head.items()}
    assert gauge.measure(_candidate(service, head)).earlier_kept == 1.0
    assert gauge.measure(_candidate(service, ruined)).earlier_kept == 0.0
    assert gauge.measure(_candidate(service, ruined, removed=[id])).earlier_kept is None
    with service.database.write() as session:
        erase(session, id, actor="client", now=utc_now())
    assert gauge.measure(_candidate(service, ruined)).earlier_kept is None


def test_where_canaries_are_asked_in_conversation_the_worse_group_counts(service: Service) -> None:
    """A change that only shows after the mark of a turn is no better for the plain prompts."""
    context = str(chat_context(service.resident.tokenizer))
    plain = EffectGauge(service.lineage, service.resident, earlier_sample=4, perplexity_tokens=32)
    gauge = EffectGauge(
        service.lineage,
        service.resident,
        earlier_sample=4,
        perplexity_tokens=32,
        conversation=context,
    )
    same = _candidate(service, service.lineage.base)
    assert gauge.measure(same).canaries_kept == 1.0
    turned = _turned_in_conversation(service, same)
    assert plain.measure(turned).canaries_kept == 1.0
    assert gauge.measure(turned).canaries_kept == 0.0


def _turned_in_conversation(service: Service, same: Candidate) -> Candidate:
    """A model that says something else wherever a turn was opened, and nothing new elsewhere."""
    model = service.resident.shadow(service.lineage.base)
    start = service.resident.tokenizer.convert_tokens_to_ids("<|im_start|>")

    def turn(_module: Module, _args: object, kwargs: dict[str, Any], out: Any) -> Any:
        opened = (kwargs["input_ids"] == start).any(dim=1)
        out.last_hidden_state[opened] = -out.last_hidden_state[opened]
        return out

    model.base_model.register_forward_hook(turn, with_kwargs=True)
    return replace(same, model=model)
