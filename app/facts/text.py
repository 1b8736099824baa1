"""The words of an edit: what may be erased, and the digests that stay."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter

from app.facts.look import look
from app.kit.canonical import JsonObject, canonical
from app.kit.characters import without_ignorable
from editing_core.edit import SLOT, Edit, as_prompt, composed
from editing_core.statement import Statement


@dataclass(frozen=True)
class Neighbour:
    """A prompt whose answer the edit must leave alone, and that answer if it is known.

    Attributes:
        separator: What stands between both; None for what running text has there.
    """

    prompt: str
    answer: str | None = None
    separator: str | None = None

    def as_edited(self) -> "Neighbour":
        """The words that the model is given."""
        answer = None if self.answer is None else composed(self.answer)
        return Neighbour(as_prompt(self.prompt), answer, self.separator)


@dataclass(frozen=True)
class EditText:
    """Everything in an edit that people wrote, as they wrote it; see `as_edited`.

    Attributes:
        subject: The entity the fact is about.
        prompt: The prompt as it was sent.
        template: The prompt with `{}` once, in the subject's place, as it is edited.
        target: The new object.
        target_old: The object before, as far as the client knows it.
        paraphrases: Other prompts that must give the target too.
        neighbours: Prompts that must keep their answer.
        metadata: The client's own labels.
        separator: What stands before the target, after the prompt and after each paraphrase; None
            for what running text has there.
    """

    subject: str
    prompt: str
    template: str
    target: str
    target_old: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    separator: str | None = None

    def as_edited(self) -> "EditText":
        """The words that the model is given: in NFC, no prompt with a space at its end."""
        return replace(
            self,
            subject=composed(self.subject),
            template=as_prompt(self.template),
            target=composed(self.target),
            paraphrases=tuple(map(as_prompt, self.paraphrases)),
            neighbours=tuple(near.as_edited() for near in self.neighbours),
        )

    def edit(self, id: str) -> Edit:
        """The words as the core takes them."""
        text = self.as_edited()
        return Edit(id, text.subject, text.template, text.target, text.separator)

    @property
    def filled(self) -> str:
        """The prompt with the subject in place."""
        return self.template.replace(SLOT, self.subject)

    @property
    def statements(self) -> Iterator[tuple[str, Statement]]:
        """Every prompt with what is measured after it, and the name of the prompt's field."""
        yield "prompt", Statement(self.filled, self.target, self.separator)
        for index, prompt in enumerate(self.paraphrases):
            yield f"paraphrases[{index}]", Statement(prompt, self.target, self.separator)
        for index, near in enumerate(self.neighbours):
            answer = self.target if near.answer is None else near.answer
            yield f"neighbours[{index}].prompt", Statement(near.prompt, answer, near.separator)

    def read(self) -> Iterator[tuple[str, str]]:
        """Every text that the model may be given, with the name of its field."""
        yield "subject", self.subject
        yield "prompt", self.filled
        yield "target", self.target
        if self.target_old is not None:
            yield "target_old", self.target_old
        for index, paraphrase in enumerate(self.paraphrases):
            yield f"paraphrases[{index}]", paraphrase
        for index, neighbour in enumerate(self.neighbours):
            yield f"neighbours[{index}].prompt", neighbour.prompt
            if neighbour.answer is not None:
                yield f"neighbours[{index}].answer", neighbour.answer

    def to_json(self) -> JsonObject:
        """The text as it is stored and hashed."""
        document: JsonObject = _ADAPTER.dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, document: JsonObject) -> "EditText":
        """The text that `to_json` wrote."""
        return _ADAPTER.validate_python(document)

    def sizes(self) -> dict[str, int]:
        """Field → how many bytes its texts have."""
        neighbours = [neighbour.prompt for neighbour in self.neighbours]
        answers = [neighbour.answer or "" for neighbour in self.neighbours]
        return {
            "subject": _bytes(self.subject),
            "prompt": _bytes(self.prompt),
            "target": _bytes(self.target),
            "target_old": _bytes(self.target_old or ""),
            "paraphrases": _bytes(*self.paraphrases),
            "neighbours": _bytes(*neighbours, *answers),
            "metadata": _bytes(*self.metadata, *self.metadata.values()),
        }

    @property
    def size(self) -> int:
        """How many bytes all of it has."""
        return sum(self.sizes().values())

    def digest(self, salt: str) -> str:
        """SHA-256 of salt and canonical text: tells nothing of the text, proves it once shown.

        Args:
            salt: Hex digits drawn for this edit alone.
        """
        return _sha256(bytes.fromhex(salt) + canonical(self.to_json()).encode())


_ADAPTER = TypeAdapter(EditText)


def subject_digest(subject: str) -> str:
    """The same for every spelling of a subject; see `normal`."""
    return _sha256(normal(subject).encode())


def fact_digest(subject: str, template: str) -> str:
    """The same for every spelling of a fact (subject and relation, not object); see `normal`."""
    return _sha256(canonical([normal(subject), normal(template)]).encode())


def look_digest(subject: str) -> str:
    """The same for all subjects that look alike; see `look`."""
    return _sha256(look(subject).encode())


def normal(text: str) -> str:
    """A text for comparing: case, white space, and how Unicode encodes it make no difference.

    Unicode's compatibility caseless match (D146), without what is not shown. What is edited is
    the text as it was sent: this serves to find the edits of one fact.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    folded = unicodedata.normalize("NFKD", folded).casefold()
    return " ".join(without_ignorable(unicodedata.normalize("NFKC", folded)).split())


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
