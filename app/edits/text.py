"""The words of an edit: what may be erased, and the digests that stay."""

import hashlib
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from app.database.base import JsonObject
from app.ledger.chain import canonical


@dataclass(frozen=True)
class Neighbour:
    """A prompt whose answer the edit must leave alone, and that answer if it is known."""

    prompt: str
    answer: str | None = None


@dataclass(frozen=True)
class EditText:
    """Everything in an edit that people wrote.

    Attributes:
        subject: The entity the fact is about.
        prompt: The prompt as it was sent.
        template: The prompt with `{}` once, in the subject's place.
        target: The new object.
        target_old: The object before, as far as the client knows it.
        paraphrases: Other prompts that must give the target too.
        neighbours: Prompts that must keep their answer.
        metadata: The client's own labels.
    """

    subject: str
    prompt: str
    template: str
    target: str
    target_old: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

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
    """The same for every spelling of a subject that differs in case or white space only."""
    return _sha256(_normal(subject).encode())


def fact_digest(subject: str, template: str) -> str:
    """The same for every spelling of a fact (subject and relation, not object)."""
    return _sha256(canonical([_normal(subject), _normal(template)]).encode())


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
