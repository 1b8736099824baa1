"""What edits do around themselves: to their relation, their subject, and their neighbours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.facts.text import EditText
from app.worker.measuring import Measurement
from editing_core.continuation import Continuation, continuations, shares_kept
from editing_core.defaults import bundled_text
from editing_core.edit import SLOT
from editing_core.giving_way import GiveWay, go_on
from editing_core.passages import count_names, divergence, passages
from editing_core.statement import tokens_of

_LEAST, _MOST = 4, 8  # tokens of a continuation: an answer, numbers being a token a digit
_COMMON = 10  # times that ordinary text names a subject which is a word rather than a name
_PASSAGES = 8  # of them that are read
_MOST_TEXT = 1_000_000  # characters: in much more, names are found as often as words are in this


@dataclass(frozen=True)
class Surroundings:
    """What one edit leaves as it was.

    Attributes:
        neighbours: Whether each neighbour is answered as before: its answer is still said, or,
            where none is given or it was not said before, it is continued as before.
        relation_kept: Share of other subjects with which the prompt is continued as before.
        essence_kept: Share of tokens, in other texts about the subject, that are said as before.
        subject_drift: Mean KL divergence from before, in nats a token, after the subject in
            ordinary text; None where that text hardly names it.
    """

    neighbours: tuple[bool, ...]
    relation_kept: float
    essence_kept: float
    subject_drift: float | None

    @property
    def neighbours_kept(self) -> float | None:
        """The share of neighbours that are answered as before; None without any."""
        return sum(self.neighbours) / len(self.neighbours) if self.neighbours else None


@dataclass(frozen=True)
class Written:
    """An edit that a candidate holds.

    Attributes:
        text: Its words, as they were edited.
        before: Its scores under the head.
        after: Its scores under the candidate.
    """

    text: EditText
    before: Measurement
    after: Measurement


class Surveyor:
    """Compares the head with a candidate around edits.

    Args:
        tokenizer: The model's.
        text: Ordinary text, to look for subjects in; only its beginning, where it is long.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text[:_MOST_TEXT]
        self._subjects = bundled_text("subjects").splitlines()
        self._about = bundled_text("essence").splitlines()

    def survey(
        self,
        head: PreTrainedModel,
        candidate: PreTrainedModel,
        written: Sequence[Written],
        between: GiveWay = go_on,
    ) -> list[Surroundings]:
        """The surroundings of each edit that is in the candidate and not in the head.

        ``between`` is called before each forward pass or generation, and may end the survey.
        """
        asked = [_Asked.of(one.text, self._subjects, self._about) for one in written]
        prompts = [prompt for one in asked for prompt in one.prompts]
        said = iter(continuations(head, self._tokenizer, prompts, tokens=_MOST, give_way=between))
        lengths = [self._answer_length(one.text) for one in written]
        expected = [
            _shortened(next(said), length)
            for one, length in zip(asked, lengths, strict=True)
            for _ in one.prompts
        ]
        shares = iter(shares_kept(candidate, expected, between))
        found = []
        for around, one in zip(asked, written, strict=True):
            between()
            drift = self._drift(head, candidate, one.text.subject)
            found.append(_surroundings(around, shares, one, drift))
        return found

    def _answer_length(self, text: EditText) -> int:
        """How many tokens an answer of this relation has, as far as the target tells."""
        target = tokens_of(self._tokenizer, text.edit("").statement).target
        return min(max(len(target), _LEAST), _MOST)

    def _drift(
        self, head: PreTrainedModel, candidate: PreTrainedModel, subject: str
    ) -> float | None:
        if count_names(self._text, subject) < _COMMON:
            return None
        read = passages(self._text, subject, most=_PASSAGES)
        return divergence(head, candidate, self._tokenizer, read)


@dataclass(frozen=True)
class _Asked:
    """The prompts around one edit."""

    neighbours: list[str]
    relation: list[str]
    essence: list[str]

    @classmethod
    def of(cls, text: EditText, subjects: Sequence[str], about: Sequence[str]) -> "_Asked":
        others = [name for name in subjects if name.casefold() != text.subject.casefold()]
        return cls(
            neighbours=[near.prompt for near in text.neighbours],
            relation=[text.template.replace(SLOT, name) for name in others],
            essence=[template.replace(SLOT, text.subject) for template in about],
        )

    @property
    def prompts(self) -> list[str]:
        return [*self.neighbours, *self.relation, *self.essence]


def _shortened(said: Continuation, tokens: int) -> Continuation:
    return Continuation(said.prompt, said.said[:tokens])


def _surroundings(
    asked: _Asked, shares: Iterator[float], written: Written, drift: float | None
) -> Surroundings:
    continued = [next(shares) for _ in asked.neighbours]
    relation = [next(shares) for _ in asked.relation]
    essence = [next(shares) for _ in asked.essence]
    return Surroundings(
        neighbours=_kept(written, continued),
        relation_kept=sum(share == 1.0 for share in relation) / len(relation),
        essence_kept=sum(essence) / len(essence),
        subject_drift=drift,
    )


def _kept(written: Written, continued: Sequence[float]) -> tuple[bool, ...]:
    """Whether each neighbour's answer is still said, or it is continued as before."""
    return tuple(
        new.match if near.answer is not None and old.match else share == 1.0
        for near, share, old, new in zip(
            written.text.neighbours,
            continued,
            written.before.neighbours,
            written.after.neighbours,
            strict=True,
        )
    )
