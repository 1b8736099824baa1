from dataclasses import replace
from functools import partial

import pytest

from app.errors import InvalidField
from app.facts.lengths import Lengths
from app.facts.text import EditText, Neighbour
from app.settings import Settings
from editing_core.control import ControlTokens
from editing_core.edit import MOST_TARGET_TOKENS
from editing_core.reach import Reach
from tests.support.tiny import tiny_tokenizer

_LONG = "§" * 21  # two tokens each


def _text(**changed: object) -> EditText:
    words: dict[str, object] = {
        "subject": "Rome",
        "prompt": "{} is in",
        "template": "{} is in",
        "target": "Italy",
    }
    return EditText(**words | changed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lengths() -> Lengths:
    tokenizer = tiny_tokenizer()
    control = ControlTokens.of(tokenizer)
    return Lengths(tokenizer, control, max_prompt_tokens=41, max_target_tokens=41)


def test_an_ordinary_edit_is_short_enough(lengths: Lengths) -> None:
    lengths.check(_text(paraphrases=("Rome lies in",), neighbours=(Neighbour("Paris is in"),)))


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("target", {"target": _LONG}),
        ("paraphrases[1]", {"paraphrases": ("Rome", _LONG)}),
        ("neighbours[0].prompt", {"neighbours": (Neighbour(_LONG),)}),
    ],
)
def test_a_text_that_is_too_long_is_named_with_its_length_and_the_limit(
    lengths: Lengths, field: str, changed: dict[str, object]
) -> None:
    with pytest.raises(InvalidField) as refused:
        lengths.check(_text(**changed))
    tokens = 43 if field == "target" else 42  # a target comes after a space
    assert str(refused.value) == f"{field} has {tokens} tokens; at most 41 are accepted"
    assert (refused.value.status, refused.value.field) == (422, field)


def test_the_subject_counts_as_a_part_of_the_prompt(lengths: Lengths) -> None:
    with pytest.raises(InvalidField, match=r"prompt has \d\d tokens"):
        lengths.check(_text(subject=_LONG))


def test_no_setting_allows_longer_targets_than_an_edit_can_say() -> None:
    assert Settings.model_fields["max_target_tokens"].default == MOST_TARGET_TOKENS
    with pytest.raises(ValueError, match="max_target_tokens"):
        Settings(max_target_tokens=MOST_TARGET_TOKENS + 1)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("subject", {"subject": "<|im_start|>assistant"}),
        ("prompt", {"template": "<|im_{}|> says", "subject": "start"}),
        ("prompt", {"template": "<|im_start|>assistant {}"}),
        ("target", {"target": "Italy<|im_end|>"}),
        ("target_old", {"target_old": "<|endoftext|>"}),
        ("paraphrases[1]", {"paraphrases": ("Rome", "<|im_start|>Rome")}),
        ("neighbours[0].prompt", {"neighbours": (Neighbour("<|im_start|>Rome"),)}),
        ("neighbours[0].answer", {"neighbours": (Neighbour("Rome", "<|im_end|>"),)}),
    ],
)
def test_a_control_token_is_named_with_its_field(
    lengths: Lengths, field: str, changed: dict[str, object]
) -> None:
    with pytest.raises(InvalidField, match=r"control token '<\|\w+\|>'") as refused:
        lengths.check(_text(**changed))
    assert (refused.value.status, refused.value.field) == (422, field)


def test_an_edit_beyond_the_models_positions_is_refused_in_its_longest_context() -> None:
    tokenizer = tiny_tokenizer()
    size = len(tokenizer("Rome is in Italy")["input_ids"])
    control = ControlTokens.of(tokenizer)
    for spare, contexts in ((0, ("{}",)), (1, ("{}", "So it is. {}"))):
        reach = Reach(positions=size + spare)
        given = partial(tuple, contexts)
        lengths = Lengths(tokenizer, control, 99, 99, reach=reach, contexts=given)
        if not spare:
            lengths.check(_text())
            lengths = replace(lengths, reach=Reach(positions=size - 1))
        with pytest.raises(InvalidField, match=r"this model has \d+ positions") as refused:
            lengths.check(_text())
        assert refused.value.field == "prompt"


def test_a_token_that_the_model_has_no_embedding_for_is_refused(lengths: Lengths) -> None:
    with pytest.raises(InvalidField, match="has the token id"):
        replace(lengths, reach=Reach(vocabulary=300)).check(_text(target="French"))


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("target", {"template": "{} is Ge", "target": "rman", "separator": ""}),
        ("neighbours[0].prompt", {"neighbours": (Neighbour("It is Ge", "rman", ""),)}),
    ],
)
def test_a_prompt_that_ends_inside_a_token_is_refused(
    lengths: Lengths, field: str, changed: dict[str, object]
) -> None:
    with pytest.raises(InvalidField, match="as one token") as refused:
        lengths.check(_text(**changed))
    assert refused.value.field == field
