"""What a model says around an edit, so that before and after can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.edits.report import NeighbourReport, ParaphraseReport, Said, Standing
from app.edits.text import EditText
from app.revisions.report import number_or_none
from editing_core.edit import Edit
from editing_core.probe import Score, score


@dataclass(frozen=True)
class Measurement:
    """Scores of an edit's target after its prompt and paraphrases, and of its neighbours."""

    prompt: Score
    paraphrases: tuple[Score, ...]
    neighbours: tuple[Score, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        """All of them."""
        return (self.prompt, *self.paraphrases, *self.neighbours)

    @property
    def standing(self) -> Standing:
        """Where the target stands after the edit's own prompt."""
        return Standing(
            p_target=self.prompt.p, rank_target=self.prompt.rank, argmax=self.prompt.argmax
        )


def said(score: Score) -> Said:
    """What a model makes of a target, as reports tell it."""
    return Said(p_target=number_or_none(score.p), match=score.match)


def ask(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Edit]
) -> dict[str, Said]:
    """Edit id → what a model makes of the edit's target after its prompt."""
    scores = score(model, tokenizer, [(fact.filled, fact.target) for fact in facts])
    return {fact.id: said(found) for fact, found in zip(facts, scores, strict=True)}


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[EditText]
) -> list[Measurement]:
    """One measurement per edit, all prompts of all edits batched together."""
    items: list[tuple[str, str]] = []
    for text in texts:
        items.append((text.filled, text.target))
        items += [(paraphrase, text.target) for paraphrase in text.paraphrases]
        items += [(near.prompt, near.answer or text.target) for near in text.neighbours]
    found = iter(score(model, tokenizer, items))
    return [
        Measurement(
            prompt=next(found),
            paraphrases=tuple(next(found) for _ in text.paraphrases),
            neighbours=tuple(next(found) for _ in text.neighbours),
        )
        for text in texts
    ]


def paraphrase_reports(
    text: EditText, before: Measurement, after: Measurement
) -> list[ParaphraseReport]:
    """The target after each paraphrase, before and after."""
    return [
        ParaphraseReport(prompt=prompt, p_target_before=old.p, p_target_after=new.p)
        for prompt, old, new in zip(
            text.paraphrases, before.paraphrases, after.paraphrases, strict=True
        )
    ]


def neighbour_reports(
    text: EditText, before: Measurement, after: Measurement
) -> list[NeighbourReport]:
    """Whether each neighbour still has the same most probable answer."""
    return [
        NeighbourReport(prompt=near.prompt, kept=old.argmax == new.argmax)
        for near, old, new in zip(text.neighbours, before.neighbours, after.neighbours, strict=True)
    ]
