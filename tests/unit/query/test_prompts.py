import copy

import pytest
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.errors import ContextTooLong, InvalidField
from app.query.prompts import PromptEncoder


@pytest.fixture
def encoder(model: PreTrainedModel, tokenizer: Tokenizer) -> PromptEncoder:
    return PromptEncoder.for_model(model, copy.deepcopy(tokenizer), max_chars=50, max_tokens=40)


def test_the_limits_are_the_models(encoder: PromptEncoder, model: PreTrainedModel) -> None:
    assert encoder.context == model.config.max_position_embeddings
    assert encoder.vocabulary == model.config.vocab_size


def test_text_is_read_as_the_tokenizer_reads_it(encoder: PromptEncoder) -> None:
    assert encoder.encode("Rome", "prompt") == encoder.tokenizer("Rome")["input_ids"]
    assert encoder.encode([5, 3], "prompt") == [5, 3]


@pytest.mark.parametrize("prompt", ["x" * 51, [10**6], [-1], ""])
def test_a_prompt_that_cannot_be_read_is_refused(
    encoder: PromptEncoder, prompt: str | list[int]
) -> None:
    with pytest.raises(InvalidField) as refused:
        encoder.encode(prompt, "prompt")
    assert refused.value.field == "prompt"


@pytest.mark.parametrize("prompt", ["§" * 25, [3] * 50])
def test_a_prompt_of_more_tokens_than_allowed_is_refused_with_both_numbers(
    encoder: PromptEncoder, prompt: str | list[int]
) -> None:
    told = "items\\[2\\].prompt has 50 tokens; at most 40 are accepted"
    with pytest.raises(InvalidField, match=told) as refused:
        encoder.encode(prompt, "items[2].prompt")
    assert (refused.value.status, refused.value.field) == (422, "items[2].prompt")


def test_an_empty_prompt_starts_from_the_begin_token_if_there_is_one(
    encoder: PromptEncoder,
) -> None:
    encoder.tokenizer.bos_token_id = 7
    assert encoder.encode("", "prompt") == [7]


def test_prompt_and_answer_may_fill_the_context_but_no_more(encoder: PromptEncoder) -> None:
    context = encoder.room_after(0)
    assert context is not None
    encoder.check_room(context - 3, 3, "max_tokens")
    with pytest.raises(ContextTooLong, match=f"holds {context}"):
        encoder.check_room(context - 3, 4, "max_tokens")
