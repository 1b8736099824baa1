from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.generation.choice_text import ChoiceText
from app.generation.detokenizer import Detokenizer, decode

NEVER_ENDS = frozenset[int]()


def written(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    *,
    stop: tuple[str, ...] = (),
    ends: frozenset[int] = NEVER_ENDS,
    prompt: Sequence[int] = (),
) -> tuple[list[str], str | None]:
    """The texts of each token in turn up to the end, and why it ended."""
    detokenizer = Detokenizer(tokenizer, prompt)
    grown = ChoiceText(detokenizer, ends=ends, stop=stop, max_tokens=len(tokens))
    texts = []
    for token in tokens:
        found = grown.add(token)
        texts.append(found.text)
        if found.finish_reason is not None:
            return texts, found.finish_reason
    return texts, None


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer(text)["input_ids"]
    return found


def characters(tokenizer: Tokenizer, text: str) -> list[int]:
    """One token a byte, so that the text comes in the smallest steps."""
    spelled = _alphabet(tokenizer, text)
    return [tokenizer.get_vocab()[symbol] for symbol in spelled]


def _alphabet(tokenizer: Tokenizer, text: str) -> list[str]:
    spelled = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [symbol for word, _ in spelled for symbol in word]


def test_the_chunks_make_up_the_text(tokenizer: Tokenizer) -> None:
    tokens = ids(tokenizer, "The mother tongue, because I said so, is 日本語 🙂.")
    texts, reason = written(tokenizer, tokens)
    assert "".join(texts) == decode(tokenizer, tokens, special=False)
    assert reason == "length"


@pytest.mark.parametrize("text", ["é", "日", "🙂", "a🙂b"])
def test_a_character_is_never_split(tokenizer: Tokenizer, text: str) -> None:
    tokens = characters(tokenizer, text)
    assert len(tokens) == len(text.encode())
    texts, _ = written(tokenizer, tokens)
    assert [chunk for chunk in texts if chunk] == list(text)


def test_half_a_character_at_the_end_is_told_as_it_is(tokenizer: Tokenizer) -> None:
    tokens = characters(tokenizer, "a🙂")[:-1]
    texts, _ = written(tokenizer, tokens)
    assert "".join(texts) == decode(tokenizer, tokens, special=False)
    assert texts[:-1] == ["a", "", ""]


def test_bytes_that_are_no_text_come_out_as_when_decoded_at_once(tokenizer: Tokenizer) -> None:
    broken = characters(tokenizer, "🙂")[1:] + characters(tokenizer, "ok")
    texts, _ = written(tokenizer, broken * 3)
    assert "".join(texts) == decode(tokenizer, broken * 3, special=False)


@pytest.mark.parametrize(
    ("text", "stop", "said"),
    [
        ("one. two", (".",), "one"),
        ("one END two", ("END",), "one "),
        ("aaab", ("aab",), "a"),
        ("one two", ("two", "ne"), "o"),
        ("é🙂x", ("🙂",), "é"),
        ("at the end!", ("!",), "at the end"),
    ],
)
def test_nothing_of_a_stop_text_is_ever_given_out(
    tokenizer: Tokenizer, text: str, stop: tuple[str, ...], said: str
) -> None:
    texts, reason = written(tokenizer, characters(tokenizer, text), stop=stop)
    assert reason == "stop"
    for number in range(len(texts)):
        assert said.startswith("".join(texts[: number + 1]))
    assert "".join(texts) == said


def test_what_only_began_like_a_stop_text_is_given_out_after_all(tokenizer: Tokenizer) -> None:
    texts, reason = written(tokenizer, characters(tokenizer, "an EN"), stop=("END", "#"))
    assert texts == ["a", "n", " ", "", "EN"]
    assert reason == "length"


def test_an_end_token_ends_the_text_and_stays_out_of_it(tokenizer: Tokenizer) -> None:
    tokens = characters(tokenizer, "abc")
    texts, reason = written(tokenizer, tokens, ends=frozenset({tokens[1]}))
    assert (texts, reason) == (["a", ""], "stop")


def test_a_space_after_the_prompt_is_kept(tokenizer: Tokenizer) -> None:
    prompt = ids(tokenizer, "The capital of Italy is")
    texts, _ = written(tokenizer, ids(tokenizer, " Rome"), prompt=prompt)
    assert "".join(texts) == " Rome"
