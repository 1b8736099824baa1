"""Target values: the hidden state z that makes the model say the target (`algorithms.md` §2).

δ is added to the output of the last edited block at the subject's last token, in every context
and in one row that holds the subject alone; Adam minimises, for each edit on its own,

    mean over contexts of −(1/T) Σ_t log p(target_t)  +  κ · KL(now ‖ before)  +  ω · ‖δ‖ / ‖z₀‖².

All edits of a call share their forward passes. Only blocks above the edited one run, only on
positions from the subject's last token on (earlier ones cannot change: their keys and values
are computed once), and the LM head sees only positions whose prediction counts. An edit that is
done leaves the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, target_tokens, tokenise
from editing_core.errors import NonFinite
from editing_core.model.packed import PackedModel
from editing_core.model.packing import Packing, Prefix
from editing_core.recipe import Recipe, ValueSettings

_BARE = "{}"
_KL_TEMPLATE = "{} is a"  # only the subject's own position is read, so the rest is inert
_CHUNK = 8  # edits optimised together: bounds memory; more of them hardly gain speed on a CPU


@dataclass(frozen=True)
class Value:
    """The optimised value of one edit.

    Attributes:
        z: (d,) target output of the last edited block at the subject's last token.
        initial_norm: ‖z₀‖, before optimisation.
        loss: Total loss at the δ that was kept.
        steps: Adam updates taken.
    """

    z: Tensor
    initial_norm: float
    loss: float
    steps: int


def optimise(
    packed: PackedModel,
    tokenizer: PreTrainedTokenizerBase,
    edits: Sequence[Edit],
    recipe: Recipe,
    *,
    layer: int | None = None,
) -> list[Value]:
    """The value of each edit, in order; edits of one call do not influence each other.

    Args:
        packed: The model to edit.
        tokenizer: Its tokenizer.
        edits: What to say.
        recipe: Contexts and settings.
        layer: The block whose output is optimised; by default the recipe's last.

    Raises:
        InvalidEdit: A subject or target has no tokens.
        NonFinite: An edit's loss is not finite.
    """
    layer = recipe.layers[-1] if layer is None else layer
    values: list[Value] = []
    for first in range(0, len(edits), _CHUNK):
        chunk = edits[first : first + _CHUNK]
        values += _optimise_chunk(packed, tokenizer, chunk, recipe, layer)
    return values


@dataclass(frozen=True)
class _Row:
    """One sequence of one edit; a row without targets is the edit's KL row."""

    edit: int
    ids: list[int]
    subject_last: int
    targets: list[int]


def _rows(tokenizer: PreTrainedTokenizerBase, edits: Sequence[Edit], recipe: Recipe) -> list[_Row]:
    rows = []
    for index, edit in enumerate(edits):
        targets = target_tokens(tokenizer, edit.target)
        for context in recipe.all_contexts:
            prompt = tokenise(tokenizer, edit, context)
            rows.append(_Row(index, prompt.ids + targets[:-1], prompt.subject_last, targets))
        alone = Edit(id=edit.id, subject=edit.subject, template=_KL_TEMPLATE, target=edit.target)
        prompt = tokenise(tokenizer, alone, _BARE)
        rows.append(_Row(index, prompt.ids[: prompt.subject_last + 1], prompt.subject_last, []))
    return rows


@dataclass(frozen=True)
class _Batch:
    """Rows of the edits still being optimised, from the subject's last token on.

    Attributes:
        rows: R rows; row r starts at packed position ``packing.starts[r]``.
        tokens: (T,) their token ids from the subject's last token on.
        hidden: (T, d) outputs of the last edited block, without δ.
        packing: Layout after the prefixes.
    """

    rows: list[_Row]
    tokens: Tensor
    hidden: Tensor
    packing: Packing

    def keep(self, edits: Tensor) -> "_Batch":
        """The batch of these edits (E,) alone, renumbered in their order."""
        number = {int(edit): new for new, edit in enumerate(edits)}
        kept = [r for r, row in enumerate(self.rows) if row.edit in number]
        rows = [_Row(number[self.rows[r].edit], *_unpack(self.rows[r])) for r in kept]
        index = torch.tensor(kept, device=self.hidden.device)
        owner = torch.repeat_interleave(self.packing.lengths)  # row of each packed position
        positions = torch.isin(owner, index)
        prefix = self.packing.prefix.select(index) if self.packing.prefix else None
        packing = Packing.of(self.packing.lengths[index], prefix=prefix)
        return _Batch(rows, self.tokens[positions], self.hidden[positions], packing)


def _unpack(row: _Row) -> tuple[list[int], int, list[int]]:
    return row.ids, row.subject_last, row.targets


@torch.no_grad()
def _prepare(packed: PackedModel, rows: list[_Row], layer: int) -> _Batch:
    """Run everything that no δ can change: blocks up to ``layer``, prefixes above it."""
    device = packed.model.device
    lengths = torch.tensor([len(row.ids) for row in rows], device=device)
    before = torch.tensor([row.subject_last for row in rows], device=device)
    tokens = torch.tensor([token for row in rows for token in row.ids], device=device)
    whole = Packing.of(lengths)
    hidden = packed.run(tokens, whole, last=layer)  # (ΣN, d)
    owner = torch.repeat_interleave(lengths)
    is_prefix = whole.positions[0] < before[owner]
    prefix = Prefix(before)
    if bool(is_prefix.any()):
        recording = Packing.of(before, record=prefix)
        packed.run(tokens[is_prefix], recording, entering=hidden[is_prefix], first=layer + 1)
    packing = Packing.of(lengths - before, prefix=prefix if prefix.layers else None)
    return _Batch(rows, tokens[~is_prefix], hidden[~is_prefix], packing)


class _Objective:
    """The loss of each edit of a batch as a function of its δ."""

    def __init__(self, packed: PackedModel, batch: _Batch, layer: int, settings: ValueSettings):
        self.packed, self.batch, self.layer, self.settings = packed, batch, layer, settings
        device = batch.hidden.device
        starts, ends = batch.packing.starts, batch.packing.starts + batch.packing.lengths
        self.owner = torch.tensor([row.edit for row in batch.rows], device=device)  # (R,)
        contexts = torch.bincount(self.owner) - 1  # (E,) rows that have targets
        at: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        shares: list[float] = []
        for r, row in enumerate(batch.rows):
            if not row.targets:
                continue
            size = len(row.targets)
            at += range(int(ends[r]) - size, int(ends[r]))
            targets += row.targets
            owners += [row.edit] * size
            shares += [1 / (size * int(contexts[row.edit]))] * size
        alone = [r for r, row in enumerate(batch.rows) if not row.targets]
        self.at = torch.tensor(at, device=device)  # (M,) positions that predict a target token
        self.targets = torch.tensor(targets, device=device)
        self.target_owner = torch.tensor(owners, device=device)
        self.share = torch.tensor(shares, device=device)
        self.alone = starts[torch.tensor(alone, device=device)]  # (E,) KL rows, in edit order
        bare = [
            batch.rows.index(next(x for x in batch.rows if x.edit == e)) for e in range(len(alone))
        ]
        self.z0 = batch.hidden[starts[torch.tensor(bare, device=device)]].float()  # (E, d)

    def __call__(self, delta: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Losses (E,) at ``delta`` (E, d), and log-probabilities (E, vocabulary) of the KL rows.

        ``before`` are those log-probabilities at δ = 0; None on the first call, which is there.
        """
        shift = delta[self.owner].to(self.batch.hidden.dtype)
        hidden = self.batch.hidden.index_add(0, self.batch.packing.starts, shift)
        final = self.packed.run(
            self.batch.tokens, self.batch.packing, entering=hidden, first=self.layer + 1
        )
        read = torch.cat([self.at, self.alone])
        log_p = self.packed.logits(final[read]).float().log_softmax(dim=1)
        spoken, alone = log_p[: len(self.at)], log_p[len(self.at) :]
        nll = -spoken.gather(1, self.targets[:, None])[:, 0] * self.share
        loss = torch.zeros(len(delta), device=delta.device).index_add(0, self.target_owner, nll)
        reference = alone.detach() if before is None else before
        divergence = (alone.exp() * (alone - reference)).sum(1)
        decay = delta.norm(dim=1) / self.z0.norm(dim=1).square()
        total = loss + self.settings.kl * divergence + self.settings.weight_decay * decay
        return total, alone.detach()


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
    tokenizer: PreTrainedTokenizerBase,
    edits: Sequence[Edit],
    recipe: Recipe,
    layer: int,
) -> list[Value]:
    settings = recipe.value
    batch = _prepare(packed, _rows(tokenizer, edits, recipe), layer)
    objective = _Objective(packed, batch, layer, settings)
    delta = torch.zeros_like(objective.z0)
    adam = _Adam(torch.zeros_like(delta), torch.zeros_like(delta), settings.learning_rate)
    running = torch.arange(len(edits), device=delta.device)  # edit of each row of delta
    before: Tensor | None = None
    values: dict[int, Value] = {}
    for step in range(settings.steps):
        delta.requires_grad_(True)
        loss, alone = objective(delta, before)
        before = alone if before is None else before
        _check_finite(loss, [edits[int(edit)] for edit in running])
        losses = loss.tolist()
        finished = (loss < settings.stop_loss) | (step == settings.steps - 1)
        for row in finished.nonzero().flatten().tolist():
            z = objective.z0[row] + delta[row].detach()
            norm = float(objective.z0[row].norm())
            values[int(running[row])] = Value(z, norm, losses[row], step)
        if bool(finished.all()):
            break
        (gradient,) = torch.autograd.grad(loss.sum(), delta)
        delta = _clamp(adam.update(delta.detach(), gradient), objective.z0, settings.clamp)
        if bool(finished.any()):
            going = (~finished).nonzero().flatten()
            delta, before, running = delta[going], before[going], running[going]
            adam.keep(going)
            batch = batch.keep(going)
            objective = _Objective(packed, batch, layer, settings)
    return [values[index] for index in range(len(edits))]


def _clamp(delta: Tensor, z0: Tensor, factor: float) -> Tensor:
    """Scale rows of δ back to norm ``factor``·‖z₀‖ where they exceed it."""
    limit = factor * z0.norm(dim=1, keepdim=True)
    norm = delta.norm(dim=1, keepdim=True)
    return torch.where(norm > limit, delta * limit / norm, delta)


def _check_finite(loss: Tensor, edits: Sequence[Edit]) -> None:
    for edit, value in zip(edits, loss.tolist(), strict=True):
        if not torch.isfinite(torch.tensor(value)):
            raise NonFinite(f"the value of edit {edit.id!r} diverged (loss {value})")
