"""What a model says around an edit, so that before and after can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.facts.edit_report import (
    EditWarning,
    FirstInText,
    NeighbourReport,
    ParaphraseReport,
    Said,
    Standing,
)
from app.facts.notices import first_warning, word_warnings
from app.facts.revision_report import number_or_none
from app.facts.text import EditText
from editing_core.edit import Edit
from editing_core.giving_way import GiveWay, go_on
from editing_core.measures.probe import Score, score
from editing_core.sink import statement_of
from editing_core.statement import Statement


@dataclass(frozen=True)
class Measurement:
    """Scores of an edit's target after its prompt and paraphrases, and of its neighbours.

    Attributes:
        first: The target after the prompt at the beginning of a text, where ``prompt`` is not
            measured there; see ``editing_core.sink``.
    """

    prompt: Score
    paraphrases: tuple[Score, ...]
    neighbours: tuple[Score, ...]
    first: Score | None = None

    @property
    def scores(self) -> tuple[Score, ...]:
        """All of them."""
        first = () if self.first is None else (self.first,)
        return (self.prompt, *self.paraphrases, *self.neighbours, *first)

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
    scores = score(model, tokenizer, [statement_of(tokenizer, fact) for fact in facts])
    return {fact.id: said(found) for fact, found in zip(facts, scores, strict=True)}


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EditText],
    between: GiveWay = go_on,
) -> list[Measurement]:
    """One measurement per edit, all prompts of all edits batched together.

    ``between`` is called between two steps, and may end it.
    """
    asked = [_statements(tokenizer, text) for text in texts]
    items = [one for statements in asked for one in statements]
    found = iter(score(model, tokenizer, items, between))
    return [
        Measurement(
            prompt=next(found),
            paraphrases=tuple(next(found) for _ in text.paraphrases),
            neighbours=tuple(next(found) for _ in text.neighbours),
            first=next(found) if len(statements) > _count(text) else None,
        )
        for text, statements in zip(texts, asked, strict=True)
    ]


def _statements(tokenizer: PreTrainedTokenizerBase, text: EditText) -> list[Statement]:
    """The fact, paraphrases and neighbours, and the fact at a text's beginning if it differs."""
    written, *others = (statement for _, statement in text.as_edited().statements)
    fact = statement_of(tokenizer, text.edit(""))
    at_first = [] if fact.prompt == written.prompt else [written]
    return [fact, *others, *at_first]


def _count(text: EditText) -> int:
    return 1 + len(text.paraphrases) + len(text.neighbours)


def warnings_of(text: EditText, measured: Measurement) -> list[EditWarning]:
    """What the readers of an edit's report should know."""
    return [*word_warnings(text), *([] if measured.first is None else [first_warning()])]


def first_report(before: Measurement, after: Measurement) -> FirstInText | None:
    """The target at a text's beginning, before and after, where the edit is not in force there."""
    if before.first is None or after.first is None:
        return None
    return FirstInText(p_target_before=before.first.p, p_target_after=after.first.p)


def paraphrase_reports(
    text: EditText, before: Measurement, after: Measurement
) -> list[ParaphraseReport]:
    """The target after each paraphrase, before and after."""
    return [
        ParaphraseReport(prompt=prompt, p_target_before=old.p, p_target_after=new.p)
        for prompt, old, new in zip(
            text.as_edited().paraphrases, before.paraphrases, after.paraphrases, strict=True
        )
    ]


def neighbour_reports(text: EditText, kept: Sequence[bool]) -> list[NeighbourReport]:
    """Whether each neighbour is answered as before."""
    return [
        NeighbourReport(prompt=near.prompt, kept=same)
        for near, same in zip(text.as_edited().neighbours, kept, strict=True)
    ]
