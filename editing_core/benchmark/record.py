"""A record: one fact to edit, and the prompts that tell what became of it."""

from dataclasses import dataclass

from editing_core.edit import Edit


@dataclass(frozen=True)
class Neighbour:
    """A prompt about something else, whose answer must not change.

    Attributes:
        prompt: A finished prompt.
        answer: What is to follow: the true object, never the edited model's own answer.
    """

    prompt: str
    answer: str


@dataclass(frozen=True)
class Record:
    """One case of an evaluation set.

    Attributes:
        edit: The fact to write.
        paraphrases: Other wordings of its prompt.
        neighbours: Prompts that must keep their answers.
        target_true: The object before the edit, which the new one is compared with; None in sets
            that only ask which token is the most probable (ZsRE).
    """

    edit: Edit
    paraphrases: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    target_true: str | None = None

    @property
    def fact(self) -> tuple[str, str]:
        """What the edit is about, whatever its case and white space."""
        return _plain(self.edit.subject), _plain(self.edit.template)

    @property
    def sentence(self) -> str:
        """The finished prompt, whatever its case and white space."""
        return _plain(self.edit.filled)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
