import re
import unicodedata
from typing import Literal

import pytest
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.errors import InvalidEdit
from editing_core.model.loading import LoadedModel

Form = Literal["NFC", "NFD"]


def _create(subject: str = "Rome", prompt: str = "{} is in", target: str = "Italy") -> Edit:
    return Edit.create(id="1", subject=subject, prompt=prompt, target=target)


def test_a_prompt_with_the_subjects_text_becomes_a_template() -> None:
    assert _create(prompt="Everyone knows Rome is in").template == "Everyone knows {} is in"


def test_a_slot_wins_over_the_subjects_text() -> None:
    edit = _create(prompt="Rome, or {}, is in")
    assert edit.filled == "Rome, or Rome, is in"
    assert edit.filled[slice(*edit.subject_span)] == "Rome"
    assert edit.subject_span[0] == len("Rome, or ")


def test_a_subject_with_braces_is_text_like_any_other() -> None:
    edit = _create(subject="{}", prompt="{} is in")
    assert edit.filled == "{} is in"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("subject", {"subject": "  "}),
        ("prompt", {"prompt": "\n"}),
        ("target", {"target": ""}),
        ("prompt", {"prompt": "{} and {}"}),
        ("prompt", {"prompt": "Paris is in"}),
        ("prompt", {"prompt": "Rome is Rome in"}),
    ],
)
def test_an_unusable_field_is_named(field: str, changes: dict[str, str]) -> None:
    with pytest.raises(InvalidEdit) as caught:
        _create(**changes)
    assert caught.value.field == field


@pytest.fixture
def tokenizer(tiny_model: LoadedModel) -> PreTrainedTokenizerBase:
    return tiny_model.tokenizer


@pytest.mark.parametrize("prompt", ["{}'s capital", "In {}, people", "{}", "The {}ans are"])
@pytest.mark.parametrize("context", ["{}", "Therefore it is so. {}"])
def test_the_subjects_last_token_covers_the_subjects_last_character(
    tokenizer: PreTrainedTokenizerBase, prompt: str, context: str
) -> None:
    edit = _create(prompt=prompt)
    found = tokenise(tokenizer, edit, context)
    text = context.replace("{}", edit.filled)
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    last = context.index("{}") + edit.subject_span[1] - 1
    left, right = offsets[found.subject_last]
    assert left <= last < right
    assert found.ids == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    ("context", "text"), [("{}", " Italian"), ("So. {}", " Italian"), ("<user>{}<bot>", "Italian")]
)
def test_a_target_continues_its_prompt_or_answers_it(
    tokenizer: PreTrainedTokenizerBase, context: str, text: str
) -> None:
    edit = _create(prompt="The language of {} is", target=" Italian ")
    assert tokenizer.decode(tokenise(tokenizer, edit, context).target) == text


@pytest.mark.parametrize(
    ("subject", "prompt", "template"),
    [
        (
            "Niger",
            "The capital of Niger, not of Nigeria, is",
            "The capital of {}, not of Nigeria, is",
        ),
        ("Rome", "Rome's river is the", "{}'s river is the"),
        ("서울", "서울은 나라의", "{}은 나라의"),
        ("日本", "日本の首都は", "{}の首都は"),
        ("ไทย", "ประเทศไทยมีเมืองหลวงคือ", "ประเทศ{}มีเมืองหลวงคือ"),
        ("Jean", "Jean-Paul's first name is", "{}-Paul's first name is"),
        ("C++", "The creator of C++ is", "The creator of {} is"),
    ],
)
def test_a_subject_is_found_as_a_word(subject: str, prompt: str, template: str) -> None:
    assert _create(subject=subject, prompt=prompt).template == template


@pytest.mark.parametrize(
    ("subject", "prompt", "word"),
    [
        ("Niger", "The capital of Nigeria is", "Nigeria"),
        ("Ann", "Annapolis was founded in", "Annapolis"),
        ("Lyon", "Wie heißt der Bürgermeister der Stadt Lyons?", "Lyons"),
        ("Sand", "The author of Sandalphon is", "Sandalphon"),
        ("울", "서울은 나라의", "서울은"),
        ("Beyonc", "Beyoncé was born in", "Beyoncé"),
    ],
)
def test_a_subject_inside_a_word_is_refused_with_that_word(
    subject: str, prompt: str, word: str
) -> None:
    told = f"only found inside '{word}'; write '{{}}'"
    with pytest.raises(InvalidEdit, match=re.escape(told)) as refused:
        _create(subject=subject, prompt=prompt)
    assert refused.value.field == "prompt"


@pytest.mark.parametrize("subject", ["NFC", "NFD"])
@pytest.mark.parametrize("prompt", ["NFC", "NFD"])
def test_how_unicode_writes_a_name_makes_no_difference(subject: Form, prompt: Form) -> None:
    edit = _create(
        subject=unicodedata.normalize(subject, "Beyoncé"),
        prompt=unicodedata.normalize(prompt, "Everyone knows Beyoncé was born in São Paulo or"),
        target=unicodedata.normalize(prompt, "Orléans"),
    )
    assert edit == _create("Beyoncé", "Everyone knows Beyoncé was born in São Paulo or", "Orléans")
    assert unicodedata.is_normalized("NFC", edit.filled + edit.target)


def test_a_prompt_loses_the_space_before_its_target_and_keeps_its_lines() -> None:
    assert _create(prompt="{} is in \t").filled == "Rome is in"
    assert _create(prompt="Where is {}?\n").statement.continuation == "Italy"
    assert _create(prompt="Where is {}?\n ").filled == "Where is Rome?\n"
