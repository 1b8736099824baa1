"""Text that every database, tokenizer and JSON encoder can hold, and every reader sees."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from app.kit.characters import hidden, name_of

MAX_PROMPT_CHARS = 4_000
MAX_PHRASE_CHARS = 500
#: cursors and revision numbers are 32-bit integers in the database
MAX_INTEGER = 2**31 - 1


def encodable(value: object) -> object:
    """The value, if it is no text or a text that can be stored and encoded.

    Raises:
        ValueError: It holds NUL or half of a surrogate pair.
    """
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("holds the character NUL; remove it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("holds half of a surrogate pair; send whole characters") from error
    return value


def _visible(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank; give at least one visible character")
    return value


def _shown(value: str) -> str:
    return _without_hidden(value, layout=False)


def _shown_in_lines(value: str) -> str:
    return _without_hidden(value, layout=True)


def _without_hidden(value: str, *, layout: bool) -> str:
    place = hidden(value, layout=layout)
    if place is not None:
        name = name_of(value[place])
        raise ValueError(f"character {place + 1} is {name}, which is not accepted; remove it")
    return value


def _not_a_number(label: str) -> str:
    if label.isdigit() or label == "head":
        raise ValueError("would be mistaken for a revision's number; add a letter")
    return label


SnapshotLabel = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), AfterValidator(_not_a_number)
]
"""A name for a revision: it stays in the ledger for ever, so it is a name and no sentence."""

Phrase = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PHRASE_CHARS),
    BeforeValidator(encodable),
    AfterValidator(_visible),
    AfterValidator(_shown),
]
"""A subject, a target, an answer, a reason: one line that readers see for what it is."""

Prompt = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PROMPT_CHARS),
    BeforeValidator(encodable),
    AfterValidator(_visible),
    AfterValidator(_shown_in_lines),
]
"""A prompt of an edit: text in one or several lines that readers see for what it is."""

AnyText = Annotated[str, BeforeValidator(encodable)]
"""Any text at all, for the model alone; its reader says how long it may be."""

Label = Annotated[
    str,
    Field(max_length=MAX_PHRASE_CHARS),
    BeforeValidator(encodable),
    AfterValidator(_shown),
]
"""A name or value in the client's own metadata; may be empty."""
