"""What a delta does to the model beyond the facts it was made for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.facts.revision_report import RevisionReport
from app.resident.lineage import Lineage
from app.resident.resident import Resident
from app.worker.distance import Base, Distance, largest, perplexity_of
from app.worker.surroundings import Surroundings, Surveyor, Written
from editing_core.defaults import bundled_text
from editing_core.edit import SLOT, Edit
from editing_core.giving_way import GiveWay, go_on
from editing_core.measures.energy import hyperspherical_energy
from editing_core.measures.perplexity import mean_loss
from editing_core.measures.probe import score
from editing_core.sink import statement_of
from editing_core.statement import Statement

_ANY = "the"  # a target to score canaries with; only what they are continued with is read
_CHARACTERS_A_TOKEN = 8  # of reference text to tokenise, and some to spare


@dataclass(frozen=True)
class Effects:
    """One number for each thing that must not suffer; those of a broken model may be NaN.

    Attributes:
        not_finite: How many entries of the matrices, and scores of the edits, are no numbers.
        delta_norm: Largest ‖W' − W‖ / ‖W‖ of an edited matrix (Frobenius), W being the head's.
        canaries_kept: Share of canaries that are continued as the base does; where some are asked
            in conversation, the smaller of both shares.
        earlier_kept: Share of the earlier edits that were asked, true before, that are still true;
            None where there is none.
        energy_drift: Largest |HE(W') / HE(W0) − 1| of an edited matrix, W0 being the base's.
        perplexity_ratio: Perplexity on reference text, relative to the base's.
        perplexity: The same as it is.
    """

    not_finite: int
    delta_norm: float
    canaries_kept: float
    earlier_kept: float | None
    energy_drift: float
    perplexity_ratio: float
    perplexity: float


@dataclass(frozen=True)
class Candidate:
    """A state of the model that may become the next revision.

    Attributes:
        model: The model in that state; nobody else sees it.
        before: The head's edited matrices, layer → (d_out, d_in).
        after: Its own.
        energies: Layer → hyperspherical energy of its own.
        logprobs: What it makes of the prompts of the edits that are in it.
        removed: Ids of live edits that are no longer in it.
        beside: Live edits of the subjects that were edited: always asked.
    """

    model: PreTrainedModel
    before: Mapping[int, Tensor]
    after: Mapping[int, Tensor]
    energies: Mapping[int, float]
    logprobs: Sequence[float]
    removed: Collection[str]
    beside: Sequence[Edit] = ()


class EffectGauge:
    """Measures the effects of candidates on one lineage; what it needs of the base, it asks once.

    Args:
        lineage: Knows the live edits and the base.
        resident: Makes models of weights.
        earlier_sample: Most live edits that are asked again, apart from those of the subjects
            that are edited.
        perplexity_tokens: Length of the reference text.
        conversation: A text with ``{}`` for a user's message, up to where the assistant is to
            speak; None for a model that does not converse.
        ordinary: Text to look for subjects in; None for the package's.
    """

    def __init__(
        self,
        lineage: Lineage,
        resident: Resident,
        *,
        earlier_sample: int,
        perplexity_tokens: int,
        conversation: str | None = None,
        ordinary: str | None = None,
    ) -> None:
        self._lineage, self._resident = lineage, resident
        self._earlier_sample, self._tokens = earlier_sample, perplexity_tokens
        text = bundled_text("statistics") if ordinary is None else ordinary
        self._surveyor = Surveyor(resident.tokenizer, text)
        self._canaries = [bundled_text("canaries").splitlines()]
        if conversation is not None:
            asked = bundled_text("questions").splitlines()
            self._canaries.append([conversation.replace(SLOT, question) for question in asked])

    def measure(self, candidate: Candidate) -> Effects:
        """Everything the gates of a whole batch compare."""
        base = self._base
        said = self._continuations(candidate.model)
        loss = self._loss(candidate.model)
        return Effects(
            not_finite=_count_not_finite(candidate),
            delta_norm=largest(
                float((after.float() - before.float()).norm() / before.float().norm())
                for before, after in _pairs(candidate)
            ),
            canaries_kept=base.canaries_kept(said),
            earlier_kept=self._earlier_kept(candidate),
            energy_drift=base.energy_drift(candidate.energies),
            perplexity_ratio=base.perplexity_ratio(loss),
            perplexity=perplexity_of(loss),
        )

    def distance(self, report: RevisionReport) -> Distance:
        """How far a revision had gone when it was made, by its report: nothing is asked of it."""
        return self._base.distance(report, self._tokens)

    def around(
        self, candidate: PreTrainedModel, written: Sequence[Written], between: GiveWay = go_on
    ) -> tuple[Surroundings, ...]:
        """What the gates of each edit compare besides its own target.

        ``between`` is called between two steps, and may end it.
        """
        with self._resident.view() as head:
            return tuple(self._surveyor.survey(head.model, candidate, written, between))

    @property
    def perplexity_tokens(self) -> int:
        """How much of the reference text is read."""
        return self._tokens

    def perplexity(self, weights: Mapping[int, Tensor]) -> float:
        """Perplexity on reference text with these edited matrices, layer → (d_out, d_in)."""
        return perplexity_of(self._loss(self._resident.shadow(weights)))

    def canaries_kept(self, weights: Mapping[int, Tensor]) -> float:
        """Share of canaries continued as by the base with these edited matrices."""
        return self._base.canaries_kept(self._continuations(self._resident.shadow(weights)))

    def _earlier_kept(self, candidate: Candidate) -> float | None:
        sample, tokenizer = self._earlier(candidate), self._resident.tokenizer
        with self._resident.view() as head:
            before = score(head.model, tokenizer, sample)
        held = [item for item, found in zip(sample, before, strict=True) if found.match]
        if not held:
            return None
        after = score(candidate.model, tokenizer, held)
        return sum(found.match for found in after) / len(held)

    def _earlier(self, candidate: Candidate) -> list[Statement]:
        """Live facts: those beside, and some drawn for each revision, the same each time."""
        head, beside = self._lineage.head_state, candidate.beside
        passed = {*candidate.removed, *(edit.id for edit in beside)}
        live = [id for id in head.live if id not in passed]
        drawn = sorted(live, key=lambda id: sha256(f"{head.revision} {id}".encode()).digest())
        words = self._lineage.words(drawn, self._earlier_sample)
        edits = [*beside, *(text.edit("") for text in words)]
        return [statement_of(self._resident.tokenizer, edit) for edit in edits]

    def _continuations(self, model: PreTrainedModel) -> list[list[str]]:
        """How each group of canaries is continued."""
        items = [(prompt, _ANY) for group in self._canaries for prompt in group]
        said = iter(score(model, self._resident.tokenizer, items))
        return [[next(said).argmax for _ in group] for group in self._canaries]

    def _loss(self, model: PreTrainedModel) -> float:
        return _reference_loss(model, self._resident.tokenizer, self._tokens)

    @cached_property
    def _base(self) -> Base:
        model = self._resident.shadow(self._lineage.base)
        energies = {
            layer: hyperspherical_energy(weight) for layer, weight in self._lineage.base.items()
        }
        return Base(self._continuations(model), self._loss(model), energies)


def reference_perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int
) -> float:
    """Perplexity on the first tokens of the reference text."""
    return perplexity_of(_reference_loss(model, tokenizer, tokens))


def _reference_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int
) -> float:
    text = bundled_text("reference")[: tokens * _CHARACTERS_A_TOKEN]
    return mean_loss(model, tokenizer, text, tokens=tokens)


def _pairs(candidate: Candidate) -> list[tuple[Tensor, Tensor]]:
    return [(candidate.before[layer], after) for layer, after in candidate.after.items()]


def _count_not_finite(candidate: Candidate) -> int:
    entries = sum(int((~torch.isfinite(after)).sum()) for after in candidate.after.values())
    return entries + int((~torch.tensor(candidate.logprobs).isfinite()).sum())
