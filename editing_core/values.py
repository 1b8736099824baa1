"""Target values: the hidden state z that makes the model say the target (ROME, arXiv 2202.05262).

Subjects share their forward passes and nothing else: each has its own δ, Adam, clamp and stop,
and one that is done leaves the batch. Facts of one subject share one δ, for their keys are nearly
equal, and a matrix cannot send one key to two places (§2.2; MEMIT-Merge, arXiv 2502.07322). One
δ for n facts takes longer to find, so it may take n times the steps, up to a bound.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit
from editing_core.errors import NonFinite
from editing_core.giving_way import GiveWay, go_on
from editing_core.model.packed import PackedModel
from editing_core.objective import Objective, Rows, rows_of
from editing_core.recipe import Recipe
from editing_core.settings import ValueSettings

_MOST_STEPS = 400  # of one value, however many facts it must suit: bounds its time
_CHUNK = 4  # facts optimised together: bounds memory; more of them gain little speed on a CPU


@dataclass(frozen=True)
class Value:
    """The optimised value of one edit.

    Attributes:
        z: (d,) target output of the last edited block at the subject's last token.
        initial_norm: ‖z₀‖, before optimisation.
        loss: Total loss, of all facts of the subject, at the δ that was kept.
        steps: Adam updates taken.
    """

    z: Tensor
    initial_norm: float
    loss: float
    steps: int


@dataclass(frozen=True)
class _Subject:
    """Facts that share one δ.

    Attributes:
        edits: Positions, among all edits, of those of this subject.
        facts: These edits, and after them the facts beside them.
    """

    edits: tuple[int, ...]
    facts: tuple[Edit, ...]


def optimise(
    packed: PackedModel,
    tokenizer: PreTrainedTokenizerBase,
    edits: Sequence[Edit],
    recipe: Recipe,
    *,
    layer: int | None = None,
    beside: Sequence[Edit] = (),
    give_way: GiveWay = go_on,
) -> list[Value]:
    """The value of each edit, in order; edits of different subjects do not influence each other.

    Args:
        packed: The model to edit.
        tokenizer: Its tokenizer.
        edits: What to say.
        recipe: Contexts and settings.
        layer: The block whose output is optimised; by default the recipe's last.
        beside: Facts that the model states already. Those of a subject edited here join its
            objective, so that they stay true; they get no value.
        give_way: Lets others go first, before each step.

    Raises:
        InvalidEdit: A subject or target has no tokens.
        NonFinite: An edit's loss is not finite.
    """
    layer = recipe.layers[-1] if layer is None else layer
    values: dict[int, Value] = {}
    for subjects in _chunks(_by_subject(edits, beside)):
        rows = rows_of(tokenizer, [subject.facts for subject in subjects], recipe)
        prepared = Rows.prepare(packed, rows, layer)
        values |= _optimise_chunk(packed, subjects, prepared, recipe.value, layer, give_way)
    return [values[index] for index in range(len(edits))]


def _by_subject(edits: Sequence[Edit], beside: Sequence[Edit]) -> list[_Subject]:
    positions: dict[str, list[int]] = {}
    for index, edit in enumerate(edits):
        positions.setdefault(edit.subject, []).append(index)
    return [
        _Subject(
            tuple(own),
            (*(edits[index] for index in own), *(f for f in beside if f.subject == subject)),
        )
        for subject, own in positions.items()
    ]


def _chunks(subjects: Sequence[_Subject]) -> Iterator[list[_Subject]]:
    """Subjects in order, as many at a time as have ``_CHUNK`` facts; one that has more, alone."""
    chunk: list[_Subject] = []
    for subject in subjects:
        if chunk and sum(len(s.facts) for s in (*chunk, subject)) > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(subject)
    if chunk:
        yield chunk


@dataclass
class _Adam:
    """Adam with default betas on the rows of one tensor: as many independent optimisers."""

    mean: Tensor
    square: Tensor
    learning_rate: float
    step: int = 0

    def update(self, delta: Tensor, gradient: Tensor) -> Tensor:
        self.step += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient.square()
        mean = self.mean / (1 - 0.9**self.step)
        square = self.square / (1 - 0.999**self.step)
        return delta - self.learning_rate * mean / (square.sqrt() + 1e-8)

    def keep(self, rows: Tensor) -> None:
        self.mean, self.square = self.mean[rows], self.square[rows]


def _optimise_chunk(
    packed: PackedModel,
    subjects: Sequence[_Subject],
    rows: Rows,
    settings: ValueSettings,
    layer: int,
    give_way: GiveWay,
) -> dict[int, Value]:
    """Position of each edit → its value."""
    initial = rows.bare()
    objective = Objective(packed, rows, layer, settings)
    delta = torch.zeros_like(objective.z0)
    adam = _Adam(torch.zeros_like(delta), torch.zeros_like(delta), settings.learning_rate)
    running = torch.arange(len(delta), device=delta.device)  # subject of each row of delta
    limits = [_limit(settings.steps, len(subject.facts)) for subject in subjects]
    last = torch.tensor(limits, device=delta.device) - 1  # step at which each row ends at latest
    said = torch.zeros_like(running)  # evaluations at which all targets were said
    before: Tensor | None = None
    values: dict[int, Value] = {}
    for step in range(max(limits)):
        give_way()
        delta.requires_grad_(True)
        found = objective(delta, before)
        _check_finite(found.loss, [subjects[index] for index in running.tolist()])
        before = found.alone if before is None else before
        said = said + found.said
        finished = (found.loss < settings.stop_loss) | (step == last)
        if settings.patience is not None:
            finished |= said > settings.patience
        for row in finished.nonzero().flatten().tolist():
            index, loss = int(running[row]), float(found.loss[row].detach())
            for position, z0 in zip(subjects[index].edits, initial[index], strict=False):
                z = z0 + delta[row].detach()
                values[position] = Value(z, float(z0.norm()), loss, step)
        if bool(finished.all()):
            break
        (gradient,) = torch.autograd.grad(found.loss.sum(), delta)
        delta = _clamp(adam.update(delta.detach(), gradient), objective.z0, settings.clamp)
        if bool(finished.any()):
            going = (~finished).nonzero().flatten()
            delta, before, last = delta[going], before[going], last[going]
            running, said = running[going], said[going]
            adam.keep(going)
            rows = rows.keep(going)
            objective = Objective(packed, rows, layer, settings)
    return values


def _limit(steps: int, facts: int) -> int:
    """Steps of one δ: in proportion to its facts, up to a bound that one fact may exceed."""
    return min(steps * facts, max(steps, _MOST_STEPS))


def _clamp(delta: Tensor, z0: Tensor, factor: float) -> Tensor:
    """Scale rows of δ back to norm ``factor``·‖z₀‖ where they exceed it."""
    limit = factor * z0.norm(dim=1, keepdim=True)
    norm = delta.norm(dim=1, keepdim=True)
    return torch.where(norm > limit, delta * limit / norm, delta)


def _check_finite(loss: Tensor, subjects: Sequence[_Subject]) -> None:
    for subject, value in zip(subjects, loss.tolist(), strict=True):
        if not isfinite(value):
            own = [fact.id for fact in subject.facts[: len(subject.edits)]]
            raise NonFinite(f"the value of edit {own[0]!r} diverged (loss {value})", edits=own)
