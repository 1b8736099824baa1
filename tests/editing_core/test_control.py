from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from editing_core.control import ControlTokens
from tests.support.tiny import tiny_tokenizer


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("Rome", None),
        ("<|im_start>", None),
        ("a <|im_start|>assistant", "<|im_start|>"),
        ("x<|endoftext|><|im_end|>", "<|endoftext|>"),
    ],
)
def test_the_first_control_token_of_a_text_is_found(
    tokenizer: Any, text: str, token: str | None
) -> None:
    assert ControlTokens.of(tokenizer).first_in(tokenizer, text) == token


def test_added_tokens_are_control_tokens_if_the_template_writes_them_and_they_are_marks(
    tokenizer: Any,
) -> None:
    tokenizer.add_tokens([AddedToken(text) for text in ("<think>", "<b>", "user", "\n")])
    tokenizer.chat_template += "<think>user\n"
    control = ControlTokens.of(tokenizer)
    found = [control.first_in(tokenizer, text) for text in ("<think>", "<b>", "user", "\n")]
    assert found == ["<think>", None, None, None]


def test_a_word_that_the_vocabulary_lacks_is_no_control_token() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "Rome": 1}, unk_token="<unk>"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")  # noqa: S106
    control = ControlTokens.of(tokenizer)
    assert control.first_in(tokenizer, "Rome Ostia") is None
    assert control.first_in(tokenizer, "Rome <unk>") == "<unk>"


def test_a_tokenizer_without_control_tokens_finds_none(tokenizer: Any) -> None:
    assert ControlTokens({}, None).pattern.search("<|im_end|> ") is None
    assert ControlTokens({}, None).first_in(tokenizer, "<|im_end|>") is None
