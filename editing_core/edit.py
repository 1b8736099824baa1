"""An edit request, and where its subject's last token is."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from editing_core.errors import InvalidEdit

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
    """

    id: str
    subject: str
    template: str
    target: str

    @classmethod
    def create(cls, *, id: str, subject: str, prompt: str, target: str) -> "Edit":
        """Build an edit from a prompt that holds ``{}`` once, or the subject's text once.

        Raises:
            InvalidEdit: A field is empty, or the prompt does not name the subject exactly once.
        """
        subject, prompt, target = subject.strip(), prompt.rstrip(), target.strip()
        for field, text in (("subject", subject), ("prompt", prompt), ("target", target)):
            if not text:
                raise InvalidEdit(field, f"{field} is empty; give at least one visible character")
        return cls(id=id, subject=subject, template=_template(prompt, subject), target=target)

    @property
    def filled(self) -> str:
        """The prompt with the subject in place."""
        return self.template.replace(SLOT, self.subject)

    @property
    def subject_span(self) -> tuple[int, int]:
        """Character range of the subject in ``filled``."""
        start = self.template.index(SLOT)
        return start, start + len(self.subject)


def _template(prompt: str, subject: str) -> str:
    slots = prompt.count(SLOT)
    if slots == 1:
        return prompt
    if slots > 1:
        raise InvalidEdit(
            "prompt", f"prompt has {slots} '{{}}'; write '{{}}' once, where the subject goes"
        )
    found = prompt.count(subject)
    if found != 1:
        raise InvalidEdit(
            "prompt",
            f"prompt has no '{{}}' and names the subject {found} times; "
            "write '{}' once, or the subject's text exactly once",
        )
    return prompt.replace(subject, SLOT)


def target_tokens(
    tokenizer: PreTrainedTokenizerBase, target: str, *, opens_turn: bool = False
) -> list[int]:
    """Token ids of ``target`` after a prompt, without special tokens.

    It continues the prompt after one space, or, if it ``opens_turn`` of a conversation, begins
    at once.

    Raises:
        InvalidEdit: The target tokenises to nothing.
    """
    text = target.strip() if opens_turn else f" {target.strip()}"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids or not target.strip():
        raise InvalidEdit("target", "target has no tokens in this model's vocabulary")
    return ids


@dataclass(frozen=True)
class TokenisedPrompt:
    """A prompt in one context: its token ids and the index of the subject's last token."""

    ids: list[int]
    subject_last: int


def check_target(tokenizer: PreTrainedTokenizerBase, edit: Edit) -> None:
    """Refuse a target that no value could be found for.

    Raises:
        InvalidEdit: The target tokenises to nothing, or to more than ``MOST_TARGET_TOKENS``.
    """
    size = len(target_tokens(tokenizer, edit.target))
    if size > MOST_TARGET_TOKENS:
        raise InvalidEdit(
            "target",
            f"target of edit {edit.id!r} has {size} tokens; at most {MOST_TARGET_TOKENS} are "
            "accepted: state the fact in a name or a short phrase",
        )


def opens_turn(context: str) -> bool:
    """Whether what follows the prompt in ``context`` is a turn of its own: an answer."""
    return not context.endswith(SLOT)


def tokenise(tokenizer: PreTrainedTokenizerBase, edit: Edit, context: str) -> TokenisedPrompt:
    """Tokenise ``edit`` inside ``context`` (a text with ``{}`` for the prompt).

    The subject is found by character offsets in the finished text, so a token that merges the
    subject's end with what follows still counts as its last token.

    Raises:
        InvalidEdit: No token covers the subject.
    """
    offset = context.index(SLOT)
    text = context.replace(SLOT, edit.filled)
    start, end = (offset + position for position in edit.subject_span)
    encoded = tokenizer(text, return_offsets_mapping=True)
    covering = [
        index
        for index, (left, right) in enumerate(encoded["offset_mapping"])
        if left < end and right > start
    ]
    if not covering:
        raise InvalidEdit(
            "subject",
            f"subject {edit.subject!r} has no tokens in this vocabulary",
            edits=[edit.id],
        )
    return TokenisedPrompt(ids=encoded["input_ids"], subject_last=covering[-1])
