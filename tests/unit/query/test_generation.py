from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.query.generation import generate_choices, score_prompt
from app.query.sampling import Sampling

PROMPT = "The mother tongue of Danielle Darrieux is"


def sampling(**changes: Any) -> Sampling:
    asked: dict[str, Any] = {
        "max_tokens": 12,
        "temperature": 0.0,
        "top_p": 1.0,
        "stop": (),
        "seed": 1,
        "top_logprobs": None,
    }
    return Sampling(**asked | changes)


@pytest.fixture(scope="module")
def prompt(tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = tokenizer(PROMPT)["input_ids"]
    return ids


def bare_generate(model: PreTrainedModel, prompt: list[int], max_tokens: int) -> list[int]:
    """What transformers itself answers, greedily."""
    ids = torch.tensor([prompt])
    bare: Any = model
    output = bare.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def test_greedy_choices_are_those_of_bare_generate(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    (choice,) = generate_choices(model, tokenizer, prompt, sampling())
    assert list(choice.tokens) == bare_generate(model, prompt, 12)


def test_scores_of_a_choice_are_those_of_one_plain_pass_over_it(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    warm = sampling(temperature=1.5, top_p=0.9, top_logprobs=3)
    (choice,) = generate_choices(model, tokenizer, prompt, warm)
    ids = torch.tensor([[*prompt, *choice.tokens]])
    with torch.no_grad():
        logprobs = model(ids).logits[0].float().log_softmax(-1)[len(prompt) - 1 : -1]
    expected = logprobs[range(len(choice.tokens)), list(choice.tokens)]
    found = torch.tensor([score.logprob for score in choice.scores])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    top = torch.tensor([[logprob for _, logprob in score.top] for score in choice.scores])
    torch.testing.assert_close(top, logprobs.topk(3).values, atol=1e-4, rtol=1e-4)


def test_a_prompt_longer_than_one_chunk_is_scored_as_in_one_pass(
    model: PreTrainedModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[int] = tokenizer(PROMPT * 3)["input_ids"]
    monkeypatch.setattr("app.query.generation._SCORED_AT_ONCE", 4)
    scores = score_prompt(model, ids, top_logprobs=1)
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    expected = logprobs[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
    assert [score.id for score in scores] == ids
    assert scores[0].logprob is None
    found = torch.tensor([score.logprob for score in scores[1:]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_same_seed_draws_the_same_and_another_seed_differs(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    def draw(seed: int, index: int = 0) -> list[tuple[int, ...]]:
        choices = generate_choices(
            model,
            tokenizer,
            prompt,
            sampling(seed=seed, temperature=1.0),
            prompt_index=index,
            n=3,
        )
        return [choice.tokens for choice in choices]

    first = draw(5)
    assert draw(5) == first
    assert draw(6) != first
    assert draw(5, index=1) != first
    assert len(set(first)) == 3


def test_choices_do_not_depend_on_how_many_are_computed_together(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = sampling(temperature=1.0)
    together = generate_choices(model, tokenizer, prompt, warm, n=4)
    monkeypatch.setattr("app.query.generation._ROW_TOKENS", 1)
    apart = generate_choices(model, tokenizer, prompt, warm, n=4)
    assert [choice.tokens for choice in apart] == [choice.tokens for choice in together]


def test_a_stop_text_is_cut_exactly_and_told(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    (whole,) = generate_choices(model, tokenizer, prompt, sampling())
    stop = whole.text[3:6]
    at = whole.text.index(stop)
    (cut,) = generate_choices(model, tokenizer, prompt, sampling(stop=("never", stop)))
    assert cut.text == whole.text[:at]
    assert cut.finish_reason == "stop"
    assert whole.finish_reason == "length"
    assert len(cut.tokens) < len(whole.tokens)
    assert cut.tokens == whole.tokens[: len(cut.tokens)]


def test_an_end_token_ends_a_choice_and_stays_out_of_its_text(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (whole,) = generate_choices(model, tokenizer, prompt, sampling())
    third = whole.tokens[2]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [third])
    (ended,) = generate_choices(model, tokenizer, prompt, sampling())
    assert ended.tokens == whole.tokens[: whole.tokens.index(third) + 1]
    assert ended.finish_reason == "stop"


def test_each_choice_ends_on_its_own(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    warm = sampling(temperature=1.0, top_logprobs=0)
    free = generate_choices(model, tokenizer, prompt, warm, n=3)
    stop = free[1].text[2:4]
    stopped = generate_choices(
        model, tokenizer, prompt, sampling(temperature=1.0, stop=(stop,), top_logprobs=0), n=3
    )
    for before, after in zip(free, stopped, strict=True):
        assert after.text == before.text.partition(stop)[0]
        assert len(after.scores) == len(after.tokens)
        assert after.finish_reason == ("stop" if stop in before.text else before.finish_reason)


def test_a_models_own_generation_defaults_do_not_leak_in(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = generate_choices(model, tokenizer, prompt, sampling())
    for name, value in {"repetition_penalty": 5.0, "do_sample": True, "num_beams": 3}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert generate_choices(model, tokenizer, prompt, sampling()) == expected


def test_nothing_asked_is_nothing_generated(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    (choice,) = generate_choices(model, tokenizer, prompt, sampling(max_tokens=0))
    assert (choice.text, choice.tokens, choice.finish_reason) == ("", (), "length")
