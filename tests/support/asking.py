"""A scheduler on its own thread, and what transformers itself would say, run alone."""

import asyncio
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from app.generation.engine import Prompt
from app.generation.sampling import Sampler, Sampling, choice_generator
from app.generation.scheduler import Scheduler
from app.generation.scored import ScoredToken
from app.generation.thread import GenerationThread


def sampling(**changes: Any) -> Sampling:
    asked: dict[str, Any] = {
        "max_tokens": 12,
        "temperature": 0.0,
        "top_p": 1.0,
        "stop": (),
        "seed": 1,
        "top_logprobs": 0,
    }
    return Sampling(**asked | changes)


@contextmanager
def scheduling(tokenizer: Tokenizer, *, max_sequences: int = 32) -> Iterator[Scheduler]:
    thread = GenerationThread()
    yield Scheduler(thread, copy.deepcopy(tokenizer), max_sequences=max_sequences)
    thread.close()


@dataclass
class Heard:
    """What a listener was told of one choice."""

    text: str = ""
    scores: list[ScoredToken] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str | None = None

    @property
    def words(self) -> list[str]:
        return [score.token.text for score in self.scores]


async def hear(
    scheduler: Scheduler, model: PreTrainedModel, prompts: Sequence[Prompt]
) -> list[Heard]:
    """Every choice, in order, once all are complete."""
    heard = [Heard() for prompt in prompts for _ in range(prompt.n)]
    async for chunk in scheduler.generate(model, prompts):
        choice = heard[chunk.choice]
        assert choice.finish_reason is None
        choice.text += chunk.text
        choice.scores += chunk.scores
        choice.tokens += chunk.tokens
        choice.finish_reason = chunk.finish_reason
    return heard


def ask_alone(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: Sequence[int], asked: Sampling, n: int = 1
) -> list[Heard]:
    with scheduling(tokenizer) as scheduler:
        return asyncio.run(hear(scheduler, model, [Prompt(0, list(prompt), asked, n)]))


def bare_generate(model: Any, prompt: Sequence[int], max_tokens: int) -> list[int]:
    """What transformers itself answers, greedily."""
    ids = torch.tensor([list(prompt)])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


@torch.no_grad()
def plain_draws(model: PreTrainedModel, prompt: Prompt, choice: int) -> list[int]:
    """What a seed draws when the whole text is read anew for each token: no cache, no company."""
    sampler = Sampler(prompt.sampling, choice_generator(prompt.sampling.seed, prompt.index, choice))
    ids = list(prompt.tokens)
    for _ in range(prompt.sampling.max_tokens):
        ids.append(sampler.choose(model(torch.tensor([ids])).logits[0, -1]).id)
    return ids[len(prompt.tokens) :]
