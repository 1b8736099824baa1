import copy
from dataclasses import replace

import pytest
from tokenizers import processors
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


@pytest.fixture
def beginning(encoder: PromptEncoder) -> PromptEncoder:
    """The encoder of a tokenizer that begins every text with BOS, as Llama's does."""
    encoder.tokenizer.add_special_tokens({"bos_token": "<s>"})
    bos = ("<s>", encoder.tokenizer.bos_token_id)
    encoder.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[bos]
    )
    return encoder


def test_a_text_that_begins_with_bos_is_begun_once(beginning: PromptEncoder) -> None:
    plain = beginning.encode("Rome", "prompt")
    assert plain[0] == beginning.tokenizer.bos_token_id
    assert beginning.encode("<s>Rome", "prompt") == plain
    assert beginning.encode("<s><s>Rome", "prompt") == [plain[0], *plain]


def test_a_text_is_read_as_it_stands_where_no_marks_are_to_be_added(
    beginning: PromptEncoder,
) -> None:
    bos, *rome = beginning.encode("Rome", "prompt")
    assert beginning.encode("Rome", "prompt", add_special_tokens=False) == rome
    twice = beginning.encode("<s><s>Rome", "prompt", add_special_tokens=False)
    assert twice == [bos, bos, *rome]


def test_two_bos_of_the_text_stay_where_the_tokenizer_adds_none(encoder: PromptEncoder) -> None:
    encoder.tokenizer.add_special_tokens({"bos_token": "<s>"})
    bos = encoder.tokenizer.bos_token_id
    assert encoder.encode("<s><s>Rome", "prompt")[:2] == [bos, bos]


def test_an_answer_is_cut_to_the_context_where_that_is_wanted(encoder: PromptEncoder) -> None:
    context = encoder.room_after(0)
    assert context is not None
    with pytest.raises(ContextTooLong):
        encoder.granted(context - 3, 4, "max_tokens")
    cutting = replace(encoder, cuts_answers=True)
    assert cutting.granted(context - 3, 4, "max_tokens") == 3
    assert cutting.granted(context - 3, 2, "max_tokens") == 2
    assert cutting.granted(context, 0, "max_tokens") == 0
    assert cutting.longest_answer(10**9) == context
    with pytest.raises(ContextTooLong):
        cutting.granted(context, 4, "max_tokens")


def test_prompt_and_answer_may_fill_the_context_but_no_more(encoder: PromptEncoder) -> None:
    context = encoder.room_after(0)
    assert context is not None
    encoder.check_room(context - 3, 3, "max_tokens")
    with pytest.raises(ContextTooLong, match=f"holds {context}"):
        encoder.check_room(context - 3, 4, "max_tokens")
