"""The batched, suffix-only optimisation against one edit at a time through the whole model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from editing_core.edit import Edit, target_tokens, tokenise
from editing_core.errors import NonFinite
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.recipe import Recipe, ValueSettings
from editing_core.values import Value, optimise

_LAYER = 1
_EDITS = [
    Edit("a", "Danielle Darrieux", "The mother tongue of {} is", "English"),
    Edit("b", "Rome", "{}", "the capital of Spain"),
    Edit("c", "Michel Rocard", "Therefore {} is a native speaker of", "German"),
]


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        model_digest="",
        statistics_digest="",
        layers=(0, _LAYER),
        contexts=(("{}",), ("Because I said so. {}", "You know that. {}")),
        value=ValueSettings(steps=20, learning_rate=0.3, stop_loss=0.0, clamp=4.0),
    )


def _with_early_leavers(model: LoadedModel, recipe: Recipe) -> Recipe:
    """A stop that the easiest edit reaches early, and the others later or never."""
    losses = [value.loss for value in _optimise(model, _EDITS, recipe)]
    return replace(recipe, value=replace(recipe.value, stop_loss=1.05 * min(losses)))


@dataclass(frozen=True)
class _Sequence:
    ids: list[int]
    subject_last: int


def _sequences(model: LoadedModel, edit: Edit, recipe: Recipe, kl_tail: str) -> list[_Sequence]:
    target = target_tokens(model.tokenizer, edit.target)[:-1]
    found = []
    for context in recipe.all_contexts:
        prompt = tokenise(model.tokenizer, edit, context)
        found.append(_Sequence(prompt.ids + target, prompt.subject_last))
    alone = tokenise(model.tokenizer, replace(edit, template="{}" + kl_tail), "{}")
    return [*found, _Sequence(alone.ids, alone.subject_last)]


def _log_p(model: LoadedModel, row: _Sequence, delta: Tensor) -> Tensor:
    """Log-probabilities (N, vocabulary) of one whole sequence with δ at the subject's last."""

    def add(_module: object, _args: object, out: Tensor) -> Tensor:
        shift = torch.zeros_like(out)
        shift[0, row.subject_last] = delta
        return out + shift

    block = model.model.get_submodule(f"{model.architecture.blocks}.{_LAYER}")
    handle = block.register_forward_hook(add)
    logits = model.model(torch.tensor([row.ids]), use_cache=False).logits[0]
    handle.remove()
    log_p: Tensor = logits.log_softmax(dim=1)
    return log_p


def _optimise_slowly(
    model: LoadedModel, edit: Edit, recipe: Recipe, kl_tail: str = " is a"
) -> Value:
    """The published loop: whole sequences, one edit, torch's own Adam."""
    settings, rows = recipe.value, _sequences(model, edit, recipe, kl_tail)
    target = torch.tensor(target_tokens(model.tokenizer, edit.target))
    states = model.model(torch.tensor([rows[0].ids]), output_hidden_states=True).hidden_states
    z0 = states[_LAYER + 1][0, rows[0].subject_last]
    delta = torch.zeros_like(z0, requires_grad=True)
    adam, before = torch.optim.Adam([delta], lr=settings.learning_rate), None
    for step in range(settings.steps):
        nll = torch.zeros(())
        for row in rows[:-1]:
            spoken = _log_p(model, row, delta)[-len(target) :]
            nll = nll - spoken.gather(1, target[:, None]).mean() / (len(rows) - 1)
        alone = _log_p(model, rows[-1], delta)[rows[-1].subject_last]
        before = alone.detach() if before is None else before
        kl = (alone.exp() * (alone - before)).sum()
        decay = settings.weight_decay * delta.norm() / z0.norm() ** 2
        loss = nll + settings.kl * kl + decay
        if float(loss.detach()) < settings.stop_loss or step == settings.steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta.mul_((settings.clamp * z0.norm() / delta.norm()).clamp(max=1))
    return Value((z0 + delta).detach(), float(z0.norm()), float(loss.detach()), step)


def _optimise(model: LoadedModel, edits: Sequence[Edit], recipe: Recipe) -> list[Value]:
    packed = PackedModel(model.model, model.architecture)
    return optimise(packed, model.tokenizer, edits, recipe)


def _same(found: Value, expected: Value) -> bool:
    error = (found.z.double() - expected.z.double()).norm() / expected.z.double().norm()
    return (
        float(error) < 1e-4
        and found.steps == expected.steps
        and found.loss == pytest.approx(expected.loss, rel=1e-3)
    )


def test_a_batch_equals_each_edit_alone_through_the_whole_model(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    recipe = _with_early_leavers(tiny_model, recipe)
    found = _optimise(tiny_model, _EDITS, recipe)
    expected = [_optimise_slowly(tiny_model, edit, recipe) for edit in _EDITS]
    assert all(map(_same, found, expected))
    assert len({value.steps for value in found}) > 1  # some left the batch earlier than others


def test_the_order_in_the_batch_does_not_matter(tiny_model: LoadedModel, recipe: Recipe) -> None:
    recipe = _with_early_leavers(tiny_model, recipe)
    forward = _optimise(tiny_model, _EDITS, recipe)
    backward = _optimise(tiny_model, _EDITS[::-1], recipe)
    assert all(map(_same, forward, backward[::-1]))


def test_words_after_the_subject_in_the_kl_row_have_no_influence(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    edit = _EDITS[0]
    one, other = (_optimise_slowly(tiny_model, edit, recipe, tail) for tail in (" is a", ""))
    assert _same(one, other)


def test_delta_never_leaves_its_ball(tiny_model: LoadedModel, recipe: Recipe) -> None:
    tight = replace(recipe, value=replace(recipe.value, clamp=0.05, stop_loss=0.0))
    for edit, value in zip(_EDITS, _optimise(tiny_model, _EDITS, tight), strict=True):
        expected = _optimise_slowly(tiny_model, edit, tight)
        assert _same(value, expected)
        assert value.steps == tight.value.steps - 1


def test_an_edit_that_is_done_at_once_keeps_its_hidden_state(
    tiny_model: LoadedModel, recipe: Recipe
) -> None:
    content = replace(recipe, value=replace(recipe.value, stop_loss=1e9))
    for value in _optimise(tiny_model, _EDITS, content):
        assert value.steps == 0
        assert float(value.z.norm()) == pytest.approx(value.initial_norm, rel=1e-6)


def test_a_loss_that_is_not_finite_names_its_edit(tiny_model: LoadedModel, recipe: Recipe) -> None:
    wild = replace(recipe, value=replace(recipe.value, kl=float("nan")))
    with pytest.raises(NonFinite, match="'a'"):
        _optimise(tiny_model, _EDITS, wild)
