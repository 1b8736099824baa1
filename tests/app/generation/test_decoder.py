import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.errors import GenerationFailed
from app.generation.detokenizer import decode, token_text
from app.generation.engine import Prompt
from app.generation.scheduler import Scheduler
from editing_core.model.opening import open_model
from tests.support.asking import (
    ask_alone,
    bare_generate,
    hear,
    plain_draws,
    sampling,
    scheduling,
)
from tests.support.families import EDITABLE
from tests.support.tiny import build_tiny_model

PROMPT = "The mother tongue of Danielle Darrieux is"
PROMPTS = (
    "Rome",
    PROMPT,
    "The capital of Italy is",
    "English, German, Spanish and Italian are languages, and so, they said, is " * 4,
    "Michel Rocard is a native speaker of",
)


@pytest.fixture(scope="module")
def prompt(tokenizer: Tokenizer) -> list[int]:
    return ids(tokenizer, PROMPT)


@pytest.fixture(autouse=True)
def endless(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model says its end token by chance; here it goes on to the length asked."""
    monkeypatch.setattr(model.generation_config, "eos_token_id", [10**6])


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer(text)["input_ids"]
    return found


def words(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    return [token_text(tokenizer, token) for token in tokens]


def test_a_single_greedy_choice_is_that_of_bare_generate(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    (heard,) = ask_alone(model, tokenizer, prompt, sampling(max_tokens=20))
    expected = bare_generate(model, prompt, 20)
    assert heard.words == words(tokenizer, expected)
    assert heard.text == decode(tokenizer, expected, special=False)
    assert (heard.tokens, heard.finish_reason) == (20, "length")


async def _in_company(
    scheduler: Scheduler, model: PreTrainedModel, prompts: Sequence[Prompt]
) -> list[list[str]]:
    """Each prompt joins once the one before it is two tokens in, and leaves when it is done."""

    async def one(prompt: Prompt, begin: asyncio.Event, begun: asyncio.Event) -> list[str]:
        await begin.wait()
        heard = list[str]()
        async for chunk in scheduler.generate(model, [prompt]):
            heard += [score.token.text for score in chunk.scores]
            if len(heard) == 2:
                begun.set()
        return heard

    events = [asyncio.Event() for _ in range(len(prompts) + 1)]
    events[0].set()
    return await asyncio.gather(
        *(one(prompt, events[i], events[i + 1]) for i, prompt in enumerate(prompts))
    )


@pytest.mark.parametrize("family", EDITABLE)
def test_greedy_tokens_are_those_of_bare_generate_in_changing_company(
    family: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = build_tiny_model(tmp_path / family, family=family)
    model: Any = open_model(folder).eval()
    model.generation_config.eos_token_id = [10**6]
    lengths = (30, 5, 12, 24, 3)
    prompts = [ids(tokenizer, text) for text in PROMPTS]
    asked = [Prompt(0, p, sampling(max_tokens=n)) for p, n in zip(prompts, lengths, strict=True)]
    with scheduling(tokenizer) as scheduler:
        heard = asyncio.run(_in_company(scheduler, model, asked))
    expected = [bare_generate(model, p, n) for p, n in zip(prompts, lengths, strict=True)]
    assert heard == [words(tokenizer, tokens) for tokens in expected]


def test_seeded_tokens_are_those_drawn_alone_in_changing_company(
    model: PreTrainedModel, tokenizer: Tokenizer
) -> None:
    warm = [
        sampling(max_tokens=length, temperature=temperature, top_p=top_p, seed=seed)
        for seed, (length, temperature, top_p) in enumerate(
            [(30, 1.0, 1.0), (4, 0.7, 0.9), (12, 1.3, 0.5), (20, 1.0, 0.95), (3, 2.0, 1.0)]
        )
    ]
    prompts = [ids(tokenizer, text) for text in PROMPTS]
    asked = [Prompt(i, p, s) for i, (p, s) in enumerate(zip(prompts, warm, strict=True))]
    alone = [words(tokenizer, plain_draws(model, prompt, 0)) for prompt in asked]
    numbered = [Prompt(0, prompt.tokens, prompt.sampling) for prompt in asked]
    expected = [words(tokenizer, plain_draws(model, prompt, 0)) for prompt in numbered]
    with scheduling(tokenizer) as scheduler:
        heard = asyncio.run(_in_company(scheduler, model, numbered))
        together = asyncio.run(hear(scheduler, model, asked))
    assert heard == expected
    assert [choice.words for choice in together] == alone


def test_requests_on_two_models_are_answered_each_by_its_own(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int], tmp_path: Path
) -> None:
    other: Any = open_model(build_tiny_model(tmp_path / "x", seed=5))
    other.generation_config.eos_token_id = [10**6]

    async def both(scheduler: Scheduler) -> list[list[str]]:
        prompts = [Prompt(0, prompt, sampling())]
        found = await asyncio.gather(
            *(hear(scheduler, asked, prompts) for asked in (model, other, model))
        )
        return [choice.words for choices in found for choice in choices]

    with scheduling(tokenizer) as scheduler:
        heard = asyncio.run(both(scheduler))
    expected = [bare_generate(asked, prompt, 12) for asked in (model, other, model)]
    assert heard == [words(tokenizer, tokens) for tokens in expected]
    assert heard[0] != heard[1]


def test_a_short_question_does_not_wait_for_a_long_answer(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    async def race(scheduler: Scheduler) -> list[str]:
        ended = list[str]()

        async def query(name: str, max_tokens: int) -> None:
            await hear(scheduler, model, [Prompt(0, prompt, sampling(max_tokens=max_tokens))])
            ended.append(name)

        long = asyncio.create_task(query("long", 300))
        await query("short", 3)
        await long
        return ended

    with scheduling(tokenizer) as scheduler:
        assert asyncio.run(race(scheduler)) == ["short", "long"]


def test_a_short_question_overtakes_a_long_list_of_prompts(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    async def race(scheduler: Scheduler) -> int:
        done = 0

        async def many() -> None:
            nonlocal done
            prompts = [Prompt(i, prompt, sampling(max_tokens=20)) for i in range(100)]
            async for chunk in scheduler.generate(model, prompts):
                done += chunk.finish_reason is not None

        long = asyncio.create_task(many())
        await asyncio.sleep(0)
        await hear(scheduler, model, [Prompt(0, prompt, sampling(max_tokens=3))])
        done_before = done
        await long
        assert done == 100
        return done_before

    with scheduling(tokenizer) as scheduler:
        assert asyncio.run(race(scheduler)) < 20


def test_whoever_stops_listening_frees_the_slots(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    async def leave_and_ask(scheduler: Scheduler) -> list[str]:
        endless = sampling(max_tokens=450, temperature=1.0)
        for _ in range(4):  # each would hold all sixteen slots
            leaving = scheduler.generate(model, [Prompt(0, prompt, endless, 16)])
            await anext(leaving)
            await leaving.aclose()
        (heard,) = await hear(scheduler, model, [Prompt(0, prompt, sampling(max_tokens=2))])
        return heard.words

    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    handle = model.register_forward_hook(count)
    with scheduling(tokenizer, max_sequences=16) as scheduler:
        heard = asyncio.run(leave_and_ask(scheduler))
    handle.remove()
    assert heard == words(tokenizer, bare_generate(model, prompt, 2))
    assert steps < 100


def test_requests_that_fill_every_slot_and_end_at_once_let_the_next_one_begin(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    prompts = [Prompt(0, prompt, sampling(max_tokens=3, temperature=1.0), 16)]

    async def three_times(scheduler: Scheduler) -> list[int]:
        found = await asyncio.gather(*(hear(scheduler, model, prompts) for _ in range(3)))
        return [len(choices) for choices in found]

    with scheduling(tokenizer, max_sequences=16) as scheduler:
        assert asyncio.run(asyncio.wait_for(three_times(scheduler), 30)) == [16] * 3


def test_sequences_too_long_for_one_batch_are_stepped_in_several(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = sampling(temperature=1.0)
    together = ask_alone(model, tokenizer, prompt, warm, 4)
    monkeypatch.setattr("app.generation.batch._POSITIONS", 1)
    assert [heard.words for heard in ask_alone(model, tokenizer, prompt, warm, 4)] == [
        heard.words for heard in together
    ]


def test_a_failure_of_the_model_reaches_those_it_was_run_for_and_nobody_else(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "app.generation.scheduler")
    failing: Any = open_model(build_tiny_model(tmp_path / "x"))
    steps = iter(range(4))

    def fail_in_the_end(*_: object) -> None:
        if next(steps, None) is None:
            raise MemoryError

    failing.register_forward_hook(fail_in_the_end)
    prompts = [Prompt(0, prompt, sampling(temperature=1.0), 16)]

    async def both(scheduler: Scheduler) -> list[Any]:
        return await asyncio.gather(
            *(hear(scheduler, asked, prompts) for asked in (failing, model)), return_exceptions=True
        )

    with scheduling(tokenizer, max_sequences=32) as scheduler:
        failed, well = asyncio.run(both(scheduler))
        assert isinstance(failed, GenerationFailed)
        assert "MemoryError" in str(failed)
        assert len(well) == 16
        # What failed has given its slots back.
        assert len(asyncio.run(hear(scheduler, model, prompts))) == 16


def test_scores_of_a_choice_are_those_of_one_plain_pass_over_it(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    warm = sampling(temperature=1.5, top_p=0.9, top_logprobs=3)
    (heard,) = ask_alone(model, tokenizer, prompt, warm)
    tokens = plain_draws(model, Prompt(0, prompt, warm), 0)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0]
    logprobs = logits.float().log_softmax(-1)[len(prompt) - 1 : -1]
    found = torch.tensor([score.logprob for score in heard.scores])
    expected = logprobs[range(len(tokens)), tokens]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    top = torch.tensor([[logprob for _, logprob in score.rivals] for score in heard.scores])
    torch.testing.assert_close(top, logprobs.topk(3).values, atol=1e-4, rtol=1e-4)


def test_a_long_prompt_is_read_and_scored_in_chunks_as_in_one_pass(
    model: PreTrainedModel, tokenizer: Tokenizer
) -> None:
    long = ids(tokenizer, PROMPTS[3] * 4)
    assert len(long) > 256
    prompt = Prompt(0, long, sampling(max_tokens=3, top_logprobs=1), score=True)
    with scheduling(tokenizer) as scheduler:
        (heard,) = asyncio.run(hear(scheduler, model, [prompt]))
    whole = [*long, *bare_generate(model, long, 3)]
    with torch.no_grad():
        logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    expected = logprobs[:-1].gather(1, torch.tensor(whole[1:])[:, None]).squeeze(1)
    assert heard.words == words(tokenizer, whole)
    assert heard.scores[0].logprob is None
    found = torch.tensor([score.logprob for score in heard.scores[1:]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert heard.tokens == 3


def test_the_same_seed_draws_the_same_and_another_seed_differs(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    def draw(seed: int) -> list[list[str]]:
        warm = sampling(seed=seed, temperature=1.0)
        return [choice.words for choice in ask_alone(model, tokenizer, prompt, warm, 3)]

    first = draw(5)
    assert draw(5) == first
    assert draw(6) != first
    assert len({tuple(choice) for choice in first}) == 3


def test_greedy_choices_are_all_the_same_and_computed_once(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    first, second = ask_alone(model, tokenizer, prompt, sampling(), 2)
    assert first == second
    assert Prompt(0, prompt, sampling(), 2).slots == 1


def test_each_choice_ends_on_its_own(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    free = ask_alone(model, tokenizer, prompt, sampling(temperature=1.0), 3)
    stop = free[1].text[2:4]
    warm = sampling(temperature=1.0, stop=("never", stop))
    for before, after in zip(free, ask_alone(model, tokenizer, prompt, warm, 3), strict=True):
        assert after.text == before.text.partition(stop)[0]
        assert after.words == before.words[: after.tokens]
        assert after.finish_reason == ("stop" if stop in before.text else "length")


def test_an_end_token_ends_a_choice_and_is_counted(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = bare_generate(model, prompt, 12)
    monkeypatch.setattr(model.generation_config, "eos_token_id", [whole[2]])
    (ended,) = ask_alone(model, tokenizer, prompt, sampling())
    kept = whole[: whole.index(whole[2]) + 1]
    assert ended.words == words(tokenizer, kept)
    assert (ended.tokens, ended.finish_reason) == (len(kept), "stop")
    assert ended.text == decode(tokenizer, kept[:-1], special=False)


def test_a_models_own_generation_defaults_do_not_leak_in(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompt: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = ask_alone(model, tokenizer, prompt, sampling())
    for name, value in {"repetition_penalty": 5.0, "do_sample": True, "num_beams": 3}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert ask_alone(model, tokenizer, prompt, sampling()) == expected


def test_nothing_asked_is_nothing_generated(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: list[int]
) -> None:
    (heard,) = ask_alone(model, tokenizer, prompt, sampling(max_tokens=0))
    assert (heard.text, heard.tokens, heard.finish_reason) == ("", 0, "length")
