"""What a value minimises, for many subjects at once (ROME, arXiv 2202.05262, Eq. 4).

Each subject has one δ, added to the output of the last edited block at the subject's last token
in every row of the subject. Its loss is

    mean over rows of −(1/T) Σ_t log p(target_t)  +  κ · KL(now ‖ before)  +  ω · ‖δ‖ / ‖z₀‖².

Only blocks above the edited one run, only on positions from the subject's last token on (earlier
ones cannot change: their keys and values are computed once), and the LM head sees only positions
whose prediction counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.model.packed import PackedModel
from editing_core.model.packing import PackedRows, Packing, Prefix
from editing_core.recipe import Recipe
from editing_core.settings import ValueSettings
from editing_core.sink import bare_context, contexts_of

_KL_TEMPLATE = "{} is a"  # only the subject's own position is read, so the rest is inert


@dataclass(frozen=True)
class Row:
    """One sequence; a row without targets is the KL row of its subject.

    Attributes:
        subject: Index of the subject whose δ acts here.
        context: Index of the context, 0 for the bare prompt; −1 for a KL row.
        ids: Token ids, the target's but the last included.
        subject_last: Index of the subject's last token.
        targets: Token ids of the target.
    """

    subject: int
    context: int
    ids: list[int]
    subject_last: int
    targets: list[int]


def rows_of(
    tokenizer: PreTrainedTokenizerBase, subjects: Sequence[Sequence[Edit]], recipe: Recipe
) -> list[Row]:
    """The rows of each subject's facts: each in every context, bare first, then the KL row."""
    rows = []
    for index, facts in enumerate(subjects):
        for fact in facts:
            for place, context in enumerate(contexts_of(tokenizer, fact, recipe.all_contexts)):
                prompt = tokenise(tokenizer, fact, context)
                rows.append(Row(index, place, prompt.forced, prompt.subject_last, prompt.target))
        alone = Edit(facts[0].id, facts[0].subject, _KL_TEMPLATE, facts[0].target)
        prompt = tokenise(tokenizer, alone, bare_context(tokenizer, facts[0]))
        ids = prompt.ids[: prompt.subject_last + 1]
        rows.append(Row(index, -1, ids, prompt.subject_last, []))
    return rows


@dataclass(frozen=True)
class Rows:
    """Rows from the subject's last token on, end to end, with all before it computed.

    Attributes:
        rows: R rows; row r starts at packed position ``packing.starts[r]``; those of a subject
            lie together, its facts' in their order, each fact's bare prompt first.
        tokens: (T,) their token ids from the subject's last token on.
        hidden: (T, d) outputs of the last edited block, without δ.
        packing: Layout after the prefixes.
    """

    rows: list[Row]
    tokens: Tensor
    hidden: Tensor
    packing: Packing

    @classmethod
    @torch.no_grad()
    def prepare(cls, packed: PackedModel, rows: list[Row], layer: int) -> "Rows":
        """Run everything that no δ can change: blocks up to ``layer``, prefixes above it.

        What all rows of a context begin with runs once for all of them.
        """
        device = packed.model.device
        shared, context = _shared(packed, rows)
        begun = shared.select(context)  # (R,)
        starts = begun.lengths.tolist()
        rest = [row.ids[start:] for row, start in zip(rows, starts, strict=True)]
        subject = torch.tensor([row.subject_last for row in rows], device=device)
        whole = PackedRows.of(rest, device, prefix=begun)
        tokens, lengths = whole.tokens, whole.packing.lengths
        hidden = packed.run(tokens, whole.packing, last=layer)  # (ΣN, d)
        is_prefix = whole.packing.positions[0] < subject[torch.repeat_interleave(lengths)]
        before = subject - begun.lengths
        own = Prefix(before)
        prefix = begun.above(layer)
        if bool(is_prefix.any()):
            recording = Packing.of(before, prefix=prefix if prefix.layers else None, record=own)
            packed.run(tokens[is_prefix], recording, entering=hidden[is_prefix], first=layer + 1)
            prefix = prefix.followed_by(own) if prefix.layers else own
        packing = Packing.of(lengths - before, prefix=prefix if prefix.layers else None)
        return cls(rows, tokens[~is_prefix], hidden[~is_prefix], packing)

    def bare(self) -> list[Tensor]:
        """For each subject, z₀ of its facts (facts, d): ``hidden`` where δ acts on bare prompts."""
        found: dict[int, list[int]] = {}
        for row, start in zip(self.rows, self.packing.starts.tolist(), strict=True):
            if row.context == 0:
                found.setdefault(row.subject, []).append(start)
        return [self.hidden[at].float() for at in found.values()]

    def keep(self, subjects: Tensor) -> "Rows":
        """The rows of these subjects (S,) alone, renumbered in their order."""
        number = {int(subject): new for new, subject in enumerate(subjects)}
        kept = [r for r, row in enumerate(self.rows) if row.subject in number]
        rows = [replace(self.rows[r], subject=number[self.rows[r].subject]) for r in kept]
        index = torch.tensor(kept, device=self.hidden.device)
        owner = torch.repeat_interleave(self.packing.lengths)  # row of each packed position
        positions = torch.isin(owner, index)
        prefix = self.packing.prefix.select(index) if self.packing.prefix else None
        packing = Packing.of(self.packing.lengths[index], prefix=prefix)
        return Rows(rows, self.tokens[positions], self.hidden[positions], packing)


def _shared(packed: PackedModel, rows: Sequence[Row]) -> tuple[Prefix, Tensor]:
    """Keys and values of what all rows of a context begin with, and the context of each row (R,).

    The subject's last token is never part of it.
    """
    contexts = sorted({row.context for row in rows})
    beginnings = []
    for context in contexts:
        first, *others = [row.ids[: row.subject_last] for row in rows if row.context == context]
        beginnings.append(_common_beginning(first, others))
    device = packed.model.device
    shared = PackedRows.of(beginnings, device, record=True)
    if any(beginnings):
        packed.run(shared.tokens, shared.packing)
    return shared.own, torch.tensor([contexts.index(row.context) for row in rows], device=device)


def _common_beginning(first: list[int], others: Sequence[list[int]]) -> list[int]:
    size = 0
    for tokens in zip(first, *others, strict=False):
        if len(set(tokens)) > 1:
            break
        size += 1
    return first[:size]


@dataclass(frozen=True)
class Evaluation:
    """The objective at some δ.

    Attributes:
        loss: (S,) total loss of each subject.
        said: (S,) whether every target token is the arg-max in every row.
        alone: (S, vocabulary) log-probabilities of the KL rows.
    """

    loss: Tensor
    said: Tensor
    alone: Tensor


class Objective:
    """The loss of each of S subjects as a function of its δ."""

    def __init__(self, packed: PackedModel, rows: Rows, layer: int, settings: ValueSettings):
        self._packed, self._rows, self._layer, self._settings = packed, rows, layer, settings
        device = rows.hidden.device
        starts, ends = rows.packing.starts, rows.packing.starts + rows.packing.lengths
        self._owner = torch.tensor([row.subject for row in rows.rows], device=device)  # (R,)
        spoken = torch.bincount(self._owner) - 1  # (S,) rows that have targets
        at: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        shares: list[float] = []
        for row, end in zip(rows.rows, ends.tolist(), strict=True):
            size = len(row.targets)
            if not size:
                continue
            at += range(end - size, end)
            targets += row.targets
            owners += [row.subject] * size
            shares += [1 / (size * int(spoken[row.subject]))] * size
        alone = [r for r, row in enumerate(rows.rows) if not row.targets]
        self._at = torch.tensor(at, device=device)  # (M,) positions that predict a target token
        self._targets = torch.tensor(targets, device=device)
        self._target_owner = torch.tensor(owners, device=device)
        self._share = torch.tensor(shares, device=device)
        self._alone = starts[torch.tensor(alone, device=device)]  # (S,) KL rows
        self.z0 = torch.stack([z0[0] for z0 in rows.bare()])
        """(S, d) z₀ of each subject's first fact, what clamp and decay are relative to."""

    def __call__(self, delta: Tensor, before: Tensor | None) -> Evaluation:
        """Evaluate at ``delta`` (S, d).

        ``before`` is ``alone`` of the evaluation at δ = 0; None on the first call, which is there.
        """
        rows, settings = self._rows, self._settings
        shift = delta[self._owner].to(rows.hidden.dtype)
        hidden = rows.hidden.index_add(0, rows.packing.starts, shift)
        final = self._packed.run(rows.tokens, rows.packing, entering=hidden, first=self._layer + 1)
        read = torch.cat([self._at, self._alone])
        log_p = self._packed.logits(final[read]).float().log_softmax(dim=1)
        spoken, alone = log_p[: len(self._at)], log_p[len(self._at) :]
        nll = -spoken.gather(1, self._targets[:, None])[:, 0] * self._share
        loss = delta.new_zeros(len(delta)).index_add(0, self._target_owner, nll)
        reference = alone.detach() if before is None else before
        divergence = (alone.exp() * (alone - reference)).sum(1)
        decay = delta.norm(dim=1) / self.z0.norm(dim=1).square()
        total = loss + settings.kl * divergence + settings.weight_decay * decay
        missed = (spoken.detach().argmax(1) != self._targets).float()
        misses = missed.new_zeros(len(delta)).index_add(0, self._target_owner, missed)
        return Evaluation(total, misses == 0, alone.detach())
