"""What an edit's readers should know of how its words were taken."""

from collections.abc import Iterator, Sequence

from app.facts.edit_report import EditWarning
from app.facts.text import EditText
from editing_core.edit import as_prompt, composed

_SPACE = "prompt_without_space"
_FORM = "words_composed"
_FIRST = "not_first_in_text"


def word_warnings(text: EditText) -> list[EditWarning]:
    """Where the words that are edited and measured differ from those that were sent.

    Field names alone are told: a warning stays when the words are erased.
    """
    changed = list(_changed(text))
    return [*_warning(_SPACE, _SPACE_TOLD, changed, 0), *_warning(_FORM, _FORM_TOLD, changed, 1)]


def first_warning() -> EditWarning:
    """The edit is not in force where it would be written into the first word of a text."""
    return EditWarning(
        name=_FIRST,
        message="the prompt begins with the last token of its subject, and a model keeps no facts "
        "at the first token of a text: the edit is written and measured after a line break. It is "
        "not in force where a text begins with it",
    )


_SPACE_TOLD = (
    "{} edited and measured without the space at the end: it belongs to the target, and a text "
    "that ends in it is another one to the model"
)
_FORM_TOLD = "{} edited and measured in Unicode's form NFC; ask in that form, too"


def _warning(
    name: str, told: str, changed: Sequence[tuple[str, bool, bool]], place: int
) -> Iterator[EditWarning]:
    fields = [field for field, *how in changed if how[place]]
    if fields:
        verb = "is" if len(fields) == 1 else "are"
        yield EditWarning(name=name, message=told.format(f"{', '.join(fields)} {verb}"))


def _changed(text: EditText) -> Iterator[tuple[str, bool, bool]]:
    """Field, whether it lost a space at its end, and whether its Unicode form was another."""
    for field, words in (("subject", text.subject), ("target", text.target)):
        yield field, False, composed(words) != words
    prompts = [("prompt", text.prompt)]
    prompts += [(f"paraphrases[{i}]", words) for i, words in enumerate(text.paraphrases)]
    prompts += [(f"neighbours[{i}].prompt", near.prompt) for i, near in enumerate(text.neighbours)]
    for field, words in prompts:
        form = composed(words)
        yield field, as_prompt(words) != form, form != words
