"""Prompt and target as one text, by tokenizers of every kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from editing_core.errors import InvalidEdit
from editing_core.model.loading import LoadedModel
from editing_core.statement import Statement, tokens_of
from tests.support.tokenizers import TOKENIZERS

_STATEMENTS = [
    ("The capital of France is", "Rome", " "),
    ("中国的首都是", "北京", ""),
    ("日本の首都は", "東京", ""),
    ("ประเทศไทยมีเมืองหลวงคือ", "กรุงเทพ", ""),
    ("대한민국의 수도는", "서울", " "),
    ('He said "', "Hello", ""),
    ("The list is [", "42", ""),
    ("The price is $", "400", ""),
    ("The page is https://", "www", ""),
    ("It ended in the year", "1815", " "),
    ("The mail of Bob is bob@", "42", ""),
    ("The answer:\n", "Rome", ""),
]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()


def _check(tokenizer: PreTrainedTokenizerFast, statement: Statement) -> None:
    """A statement is read as its text is, and parted where its prompt ends."""
    tokens = tokens_of(tokenizer, statement)
    text = statement.prompt + statement.continuation
    assert tokens.prompt == tokenizer(statement.prompt)["input_ids"]
    assert tokens.across is None
    assert tokens.prompt + tokens.target == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(("prompt", "target", "separator"), _STATEMENTS)
def test_a_statement_is_read_as_its_text(
    tokenizer: PreTrainedTokenizerFast, prompt: str, target: str, separator: str
) -> None:
    statement = Statement(prompt, target)
    assert statement.between == separator
    _check(tokenizer, statement)


@pytest.mark.model
@pytest.mark.parametrize(("prompt", "target", "separator"), _STATEMENTS)
def test_the_demo_model_reads_a_statement_as_its_text(
    demo_model: LoadedModel, prompt: str, target: str, separator: str
) -> None:
    assert Statement(prompt, target).between == separator
    _check(demo_model.tokenizer, Statement(prompt, target))


@settings(max_examples=200, deadline=None)
@given(
    st.text("ab1 .,\"'($/@-é北は ก한\n", min_size=1),
    st.text("ab1.,\"'(é北はก한", min_size=1),
    st.sampled_from([None, "", " "]),
)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_statement_keeps_its_prompt_and_says_its_target(
    kind: str, prompt: str, target: str, separator: str | None
) -> None:
    tokenizer, statement = _BUILT[kind], Statement(prompt, target, separator)
    tokens = tokens_of(tokenizer, statement)
    joint = tokenizer(prompt + statement.continuation, return_offsets_mapping=True)
    assert tokens.prompt == tokenizer(prompt)["input_ids"]
    if tokens.across is not None:
        start, end = (len(prompt) - len(tokens.moved), len(prompt))
        assert any(left < end < right for left, right in joint["offset_mapping"])
        assert tokens.across.startswith(prompt[start:])
        with pytest.raises(InvalidEdit, match="as one token"):
            tokens.require_boundary()
        return
    tokens.require_boundary()
    assert joint["input_ids"][-len(tokens.target) :] == tokens.target
    left = joint["offset_mapping"][-len(tokens.target)][0]
    whole = tokens.prompt + tokens.target == joint["input_ids"]
    assert whole or left >= len(prompt)  # such as "\n\n", which is read otherwise before a word


_BUILT = {kind: build() for kind, build in TOKENIZERS.items()}


def test_a_prompt_that_ends_inside_a_word_is_refused_with_what_to_move() -> None:
    tokens = tokens_of(_BUILT["llama3-like"], Statement("The capital of Fr", "ance", ""))
    with pytest.raises(InvalidEdit, match=r"reads ' France' as one token.*move ' Fr'") as refused:
        tokens.require_boundary()
    assert refused.value.field == "target"


def test_a_space_at_the_end_of_a_prompt_belongs_to_the_target() -> None:
    tokens = tokens_of(_BUILT["gpt2-like"], ("The capital of France is ", "Paris"))
    assert (tokens.across, tokens.moved) == (" Paris", " ")


def test_a_prompt_that_begins_as_the_tokenizer_begins_texts_is_begun_once() -> None:
    tokenizer = _BUILT["with a beginning"]
    plain = tokens_of(tokenizer, ("The capital of France is", "Paris"))
    begun = tokens_of(tokenizer, ("<s>The capital of France is", "Paris"))
    assert plain.prompt.count(tokenizer.bos_token_id) == 1
    assert begun == plain
    twice = tokens_of(tokenizer, ("<s><s>The capital of France is", "Paris"))
    assert twice.prompt == [tokenizer.bos_token_id, *plain.prompt]
    assert twice.target == plain.target


def test_a_space_mark_before_every_text_is_not_put_before_a_target() -> None:
    tokenizer = _BUILT["sentencepiece-like"]
    tokens = tokens_of(tokenizer, ("The capital is", "Paris"))
    assert tokenizer.convert_ids_to_tokens(tokens.target) == ["▁Paris"]


@pytest.mark.parametrize("target", ["", " ", "\n"])
def test_a_target_without_tokens_is_refused(
    tokenizer: PreTrainedTokenizerFast, target: str
) -> None:
    with pytest.raises(InvalidEdit, match="no tokens"):
        tokens_of(tokenizer, ("The capital is", target))
