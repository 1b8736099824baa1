import pytest
from transformers import PreTrainedTokenizerBase

from editing_core.edit import Edit, target_tokens, tokenise
from editing_core.errors import InvalidEdit
from editing_core.model.loading import LoadedModel


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


def test_a_target_is_tokenised_as_a_continuation(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.decode(target_tokens(tokenizer, "Italian")) == " Italian"
