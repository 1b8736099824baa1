"""An edit request, and where its subject's last token is."""

import unicodedata
from dataclasses import dataclass

import regex
from transformers import PreTrainedTokenizerBase

from editing_core.beginning import begun_once
from editing_core.errors import InvalidEdit
from editing_core.statement import Statement, tokens_of
from editing_core.words import touches_word, word_around

SLOT = "{}"  # stands for the subject in a prompt, and for the prompt in a context
MOST_TARGET_TOKENS = 64  # one shift of one hidden state names things; it does not recite texts


@dataclass(frozen=True)
class Edit:
    """One fact to write: after the edit, ``filled`` is continued with ``target``.

    Attributes:
        id: Opaque name of the edit; ties factors and reports to the request.
        subject: The entity the fact is about.
        template: The prompt with ``{}`` exactly once, in the subject's place.
        target: The new object, without leading or trailing white space.
        separator: What stands before the target; None for what running text has there.
    """

    id: str
    subject: str
    template: str
    target: str
    separator: str | None = None

    @classmethod
    def create(
        cls, *, id: str, subject: str, prompt: str, target: str, separator: str | None = None
    ) -> "Edit":
        """Build an edit from a prompt that holds ``{}`` once, or the subject's text once.

        The words are taken as they are asked in running text: in Unicode's form NFC, and without
        the space at the end of the prompt, which belongs to the target.

        Raises:
            InvalidEdit: A field is empty, or the prompt does not name the subject exactly once.
        """
        subject, prompt, target = composed(subject).strip(), as_prompt(prompt), composed(target)
        target = target.strip()
        for field, text in (("subject", subject), ("prompt", prompt), ("target", target)):
            if not text.strip():
                raise InvalidEdit(field, f"{field} is empty; give at least one visible character")
        return cls(id, subject, _template(prompt, subject), target, separator)

    @property
    def filled(self) -> str:
        """The prompt with the subject in place."""
        return self.template.replace(SLOT, self.subject)

    @property
    def subject_span(self) -> tuple[int, int]:
        """Character range of the subject in ``filled``."""
        start = self.template.index(SLOT)
        return start, start + len(self.subject)

    @property
    def statement(self) -> Statement:
        """The fact as a text: the prompt with its target."""
        return Statement(self.filled, self.target, self.separator)


def composed(text: str) -> str:
    """A text in Unicode's form NFC, in which most texts are written and models have read them."""
    return unicodedata.normalize("NFC", text)


def as_prompt(text: str) -> str:
    """A text as a prompt: in NFC, and without the space that a word would follow.

    A line break at the end stays: what follows it begins a line.
    """
    return without_end_space(composed(text))


def without_end_space(text: str) -> str:
    """A text without the space at its end, but with a line break there."""
    words = len(text.rstrip())
    return text[: words + text[words:].rfind("\n") + 1]


def _template(prompt: str, subject: str) -> str:
    slots = prompt.count(SLOT)
    if slots == 1:
        return prompt
    if slots > 1:
        raise InvalidEdit(
            "prompt", f"prompt has {slots} '{{}}'; write '{{}}' once, where the subject goes"
        )
    words = [at for at in _places(prompt, subject) if not touches_word(prompt, at, len(subject))]
    if len(words) == 1:
        return prompt[: words[0]] + SLOT + prompt[words[0] + len(subject) :]
    if not words and subject in prompt:
        raise InvalidEdit(
            "prompt",
            f"the subject is only found inside {word_around(prompt, prompt.index(subject))!r}; "
            "write '{}' where the subject goes",
        )
    raise InvalidEdit(
        "prompt",
        f"prompt has no '{{}}' and names the subject {len(words)} times; "
        "write '{}' once, or the subject's text exactly once",
    )


def _places(prompt: str, subject: str) -> list[int]:
    """Where the subject's text begins, left to right, none inside another."""
    return [found.start() for found in regex.finditer(regex.escape(subject), prompt)]


@dataclass(frozen=True)
class TokenisedPrompt:
    """A prompt in one context, and its target: token ids, and the index of the subject's last."""

    ids: list[int]
    subject_last: int
    target: list[int]

    @property
    def forced(self) -> list[int]:
        """Prompt and target but its last token: what a model reads to be asked for each of them."""
        return self.ids + self.target[:-1]


def check_target(tokenizer: PreTrainedTokenizerBase, edit: Edit) -> None:
    """Refuse a target that no value could be found for.

    Raises:
        InvalidEdit: The target tokenises to nothing, to more than ``MOST_TARGET_TOKENS``, or to
            tokens that begin in the prompt.
    """
    tokens = tokens_of(tokenizer, edit.statement)
    if len(tokens.target) > MOST_TARGET_TOKENS:
        raise InvalidEdit(
            "target",
            f"target of edit {edit.id!r} has {len(tokens.target)} tokens; at most "
            f"{MOST_TARGET_TOKENS} are accepted: state the fact in a name or a short phrase",
        )
    tokens.require_boundary()


def opens_turn(context: str) -> bool:
    """Whether what follows the prompt in ``context`` is a turn of its own: an answer."""
    return not context.endswith(SLOT)


def tokenise(tokenizer: PreTrainedTokenizerBase, edit: Edit, context: str) -> TokenisedPrompt:
    """Tokenise ``edit`` inside ``context`` (a text with ``{}`` for the prompt).

    The subject is found by character offsets in the finished text, so a token that merges the
    subject's end with what follows still counts as its last token.

    Raises:
        InvalidEdit: No token covers the subject, or the target has none.
    """
    offset = context.index(SLOT)
    text = context.replace(SLOT, edit.filled)
    start, end = (offset + position for position in edit.subject_span)
    read = tokenizer(text, return_offsets_mapping=True)
    twice = len(read["input_ids"]) - len(begun_once(tokenizer, read["input_ids"]))
    offsets = read["offset_mapping"][twice:]
    covering = [
        index for index, (left, right) in enumerate(offsets) if left < end and right > start
    ]
    if not covering:
        raise InvalidEdit(
            "subject",
            f"subject {edit.subject!r} has no tokens in this vocabulary",
            edits=[edit.id],
        )
    separator = "" if opens_turn(context) else edit.statement.between
    tokens = tokens_of(tokenizer, Statement(text, edit.target, separator))
    return TokenisedPrompt(tokens.prompt, covering[-1], tokens.target)
