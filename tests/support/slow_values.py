"""The published way to a value, as an oracle: whole sequences, one edit, torch's own Adam."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from editing_core.edit import Edit, tokenise
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import hidden_of
from editing_core.recipe import Recipe
from editing_core.sink import bare_context, contexts_of
from editing_core.values import Value


@dataclass(frozen=True)
class _Sequence:
    ids: list[int]
    subject_last: int

    target: list[int]


def _sequences(model: LoadedModel, fact: Edit, recipe: Recipe) -> list[_Sequence]:
    found = []
    for context in contexts_of(model.tokenizer, fact, recipe.all_contexts):
        prompt = tokenise(model.tokenizer, fact, context)
        found.append(_Sequence(prompt.forced, prompt.subject_last, prompt.target))
    return found


def _log_p(model: LoadedModel, layer: int, row: _Sequence, delta: Tensor) -> Tensor:
    """Log-probabilities (N, vocabulary) of one whole sequence with δ at the subject's last."""

    def add(_module: object, _args: object, out: Tensor | tuple[Tensor, ...]) -> object:
        hidden = hidden_of(out)
        shift = torch.zeros_like(hidden)
        shift[0, row.subject_last] = delta
        return (hidden + shift, *out[1:]) if isinstance(out, tuple) else hidden + shift

    block = model.model.get_submodule(f"{model.architecture.blocks}.{layer}")
    handle = block.register_forward_hook(add)
    logits = model.model(torch.tensor([row.ids]), use_cache=False).logits[0]
    handle.remove()
    log_p: Tensor = logits.log_softmax(dim=1)
    return log_p


def optimise_slowly(
    model: LoadedModel,
    edit: Edit,
    recipe: Recipe,
    kl_tail: str = " is a",
    beside: Sequence[Edit] = (),
) -> Value:
    """The value of one edit, with facts of its subject beside it.

    ``kl_tail`` follows the subject in the row of the divergence.
    """
    settings, layer = recipe.value, recipe.layers[-1]
    rows = [row for fact in (edit, *beside) for row in _sequences(model, fact, recipe)]
    context = bare_context(model.tokenizer, edit)
    prompt = tokenise(model.tokenizer, replace(edit, template="{}" + kl_tail), context)
    kl_row = _Sequence(prompt.ids, prompt.subject_last, [])
    states = model.model(torch.tensor([rows[0].ids]), output_hidden_states=True).hidden_states
    z0 = states[layer + 1][0, rows[0].subject_last]
    delta = torch.zeros_like(z0, requires_grad=True)
    adam, before = torch.optim.Adam([delta], lr=settings.learning_rate), None
    said = 0
    steps = settings.steps * (1 + len(beside))
    for step in range(steps):
        nll, missed = torch.zeros(()), False
        for row in rows:
            target = torch.tensor(row.target)
            spoken = _log_p(model, layer, row, delta)[-len(target) :]
            nll = nll - spoken.gather(1, target[:, None]).mean() / len(rows)
            missed |= bool((spoken.argmax(1) != target).any())
        said += not missed
        alone = _log_p(model, layer, kl_row, delta)[kl_row.subject_last]
        before = alone.detach() if before is None else before
        kl = (alone.exp() * (alone - before)).sum()
        decay = settings.weight_decay * delta.norm() / z0.norm() ** 2
        loss = nll + settings.kl * kl + decay
        patient = settings.patience is None or said <= settings.patience
        if float(loss.detach()) < settings.stop_loss or not patient or step == steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta.mul_((settings.clamp * z0.norm() / delta.norm()).clamp(max=1))
    return Value((z0 + delta).detach(), float(z0.norm()), float(loss.detach()), step)


def same(found: Value, expected: Value) -> bool:
    """Whether z agrees to 1e-4, after as many steps."""
    error = (found.z.double() - expected.z.double()).norm() / expected.z.double().norm()
    return (
        float(error) < 1e-4
        and found.steps == expected.steps
        and found.loss == pytest.approx(expected.loss, rel=1e-3)
    )
